"""Mixtures, of normals or of posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Floats, Name, checked
from ppl_vae.conditional import Conditional
from ppl_vae.distributions import DiagonalNormal, Mixture, positive, unconstrained
from ppl_vae.priors.prior import Prior

__all__ = ["GaussianMixture", "VampPrior", "check_inputs", "for_components"]

Shape = Sequence[Count]


@checked
class GaussianMixture(Prior):
    """p(z) = sum_k w_k N(z; m_k, diag(s_k^2)), all parameters learned.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    num_components
        Number of components.
    site
        Name of the Pyro sample site.
    """

    uses_context = False

    def __init__(self, latent_dim: Count, num_components: Count = 10, *, site: Name = "z") -> None:
        super().__init__(site)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, latent_dim))
        self.raw_scale = nn.Parameter(torch.zeros(num_components, latent_dim))

    def given(self, *context: Tensor) -> TorchDistribution:
        """The mixture; the context is ignored."""
        return Mixture(self.logits, DiagonalNormal(self.loc, positive(self.raw_scale)))

    def start_from(self, z: Tensor) -> None:
        """Initialize with scikit-learn's expectation maximization on z; uses torch's global generator.

        Raises
        ------
        ValueError
            For fewer values than components.
        """
        from sklearn import mixture

        if len(z) < len(self.logits):
            raise ValueError(
                f"GaussianMixture expects a datum or more for each component to start from, got {len(z)} data and "
                f"{len(self.logits)} components; give num_components={len(z)} at most, or more data"
            )
        loc, scale, seed = z.mean(0), z.std(0, correction=0).clamp_min(1e-6), int(torch.randint(2**31, ()))
        em = mixture.GaussianMixture(len(self.logits), covariance_type="diag", max_iter=1000, random_state=seed)
        found = em.fit(((z - loc) / scale).cpu().double().numpy())
        with torch.no_grad():
            self.logits.copy_(torch.as_tensor(found.weights_).log())
            self.loc.copy_(loc + scale * torch.as_tensor(found.means_).to(z))
            self.raw_scale.copy_(unconstrained(scale * torch.as_tensor(found.covariances_).sqrt().to(z)))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.logits))


@checked
class VampPrior(Prior):
    """p(z) = sum_k w_k q(z | u_k): a mixture of posteriors at learned pseudo-inputs.

    It calls the posterior it is given and does not own it. Not for a `Point` posterior, whose mixture has an
    infinite density.

    Parameters
    ----------
    posterior
        The posterior q whose `given` makes the components.
    x_shape
        Shape of one datum.
    num_components
        Number of pseudo-inputs.
    pseudo_inputs
        Initial values, data (n, *x_shape) as the encoder sees them; the first `num_components` are used, and random
        numbers where there are fewer.
    weighted
        Whether the weights are learned; otherwise they are equal, as in the paper.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For pseudo-inputs of another shape than (n, *x_shape).

    References
    ----------
    Tomczak & Welling 2018, arXiv:1705.07120.
    """

    def __init__(
        self,
        posterior: Conditional,
        x_shape: Shape,
        num_components: Count = 500,
        pseudo_inputs: Floats | None = None,
        weighted: bool = False,
        *,
        site: Name = "z",
    ) -> None:
        super().__init__(site)
        self._components = posterior.given  # the bound method, so that the posterior is not registered twice
        self._context_shapes = getattr(posterior, "context_shapes", ())
        inputs = torch.rand(num_components, *x_shape)
        if pseudo_inputs is not None:
            check_inputs("VampPrior", pseudo_inputs, x_shape)
            inputs[: len(pseudo_inputs)] = pseudo_inputs[:num_components].to(inputs)
        self.pseudo_inputs = nn.Parameter(inputs)
        self.logits = nn.Parameter(torch.zeros(num_components), requires_grad=weighted)

    def given(self, *context: Tensor) -> TorchDistribution:
        """The mixture of q(z | u_k, context), the context (*leading, *shape) shared by the components."""
        shared = for_components(context, self._context_shapes)
        return Mixture(self.logits, self._components(self.pseudo_inputs, *shared))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.pseudo_inputs))


def for_components(context: Sequence[Tensor], shapes: Sequence[Shape]) -> list[Tensor]:
    """Contexts (*leading, *shape) as (*leading, 1, *shape), to be broadcast against K data; (n, ...) if not known."""
    known = [c.unsqueeze(c.dim() - len(shape)) for c, shape in zip(context, shapes, strict=False)]
    return [*known, *(c.unsqueeze(1) for c in context[len(known) :])]


def check_inputs(name: str, inputs: Tensor, x_shape: Shape) -> None:
    """Refuse data of another shape, for a prior of this name.

    Raises
    ------
    ValueError
        For another shape than (n, *x_shape).
    """
    if tuple(inputs.shape[1:]) != tuple(x_shape):
        raise ValueError(
            f"{name} expects pseudo_inputs of shape (n, {', '.join(map(str, x_shape))}), got "
            f"{tuple(inputs.shape)}; give data as the encoder sees them"
        )
