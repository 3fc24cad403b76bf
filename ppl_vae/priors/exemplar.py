"""A mixture around the codes of training data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.arguments import Count, Floats, Name, checked
from ppl_vae.conditional import Conditional
from ppl_vae.distributions import DiagonalNormal, Mixture, positive, unconstrained
from ppl_vae.precision import in_float64
from ppl_vae.priors.mixture import check_inputs, for_components
from ppl_vae.priors.prior import Prior

__all__ = ["Exemplar"]

Shape = Sequence[Count]

_CODES = 1000
"""Codes that the scale starts from."""


@checked
class Exemplar(Prior):
    """p(z) = mean_k N(z; E_q[z | x_k], s^2 I): a mixture around the codes of training data x_k, with one learned scale.

    In train mode each call uses `per_step` of the exemplars, chosen at random, and leaves out the datum that z belongs
    to (leave-one-out), without which s would go to 0; in eval mode all of them. It calls the posterior it is given and
    does not own it; with a `Point` posterior the mixture has a density, too. A datum is recognized by its values: of
    data that are drawn anew each epoch (`SampleBinary`) none is left out, and s is too small where there are few.

    Parameters
    ----------
    posterior
        The posterior q, whose means are the centres.
    x_shape
        Shape of one datum.
    num_components
        Number of exemplars that are stored, 2 or more; the encoder reads all of them whenever the prior is evaluated.
    per_step
        Number of exemplars in a step of training, at most; it bounds the memory and time of a step.
    pseudo_inputs
        Training data (n, *x_shape) as the encoder sees them, the first 5,000 in `build`; exemplars are drawn from them
        with torch's global generator, each again where there are fewer. Without any, random numbers.
    site
        Name of the Pyro sample site.

    Raises
    ------
    ValueError
        For fewer than 2 exemplars, for data of another shape than (n, *x_shape), and for a posterior without a mean.

    References
    ----------
    Norouzi et al. 2020, arXiv:2004.04795, whose exemplars are all training data, with approximate nearest neighbours.
    """

    sees_x = True

    exemplars: Tensor
    _multipliers: Tensor

    def __init__(
        self,
        posterior: Conditional,
        x_shape: Shape,
        num_components: Count = 500,
        per_step: Count = 100,
        pseudo_inputs: Floats | None = None,
        *,
        site: Name = "z",
    ) -> None:
        super().__init__(site)
        if min(num_components, per_step) < 2:
            raise ValueError(
                f"Exemplar expects 2 exemplars or more, as each leaves itself out, got num_components={num_components} "
                f"and per_step={per_step}; give 500 and 100, say"
            )
        self._components = posterior.given  # the bound method, so that the posterior is not registered twice
        self._context_shapes = getattr(posterior, "context_shapes", ())
        self.per_step = per_step
        inputs = torch.rand(num_components, *x_shape)
        if pseudo_inputs is not None:
            check_inputs("Exemplar", pseudo_inputs, x_shape)
            chosen = torch.randperm(len(pseudo_inputs))[torch.arange(num_components) % len(pseudo_inputs)]
            inputs = pseudo_inputs[chosen].to(inputs)
        self.register_buffer("exemplars", inputs)
        generator = torch.Generator().manual_seed(0)
        odd = 2 * torch.randint(2**62, (2 * inputs[0].numel(),), generator=generator) + 1  # 2: float64 is two words
        self.register_buffer("_multipliers", odd, persistent=False)
        self.raw_scale = nn.Parameter(torch.zeros(()))

    def given(self, *context: Tensor, x: Tensor | None = None) -> TorchDistribution:
        """The mixture given the context, (*leading, *shape); of data x (*leading, *x_shape) without themselves."""
        some = self.exemplars
        if self.training and len(some) > self.per_step:
            some = some[torch.randperm(len(some), device=some.device)[: self.per_step]]
        shared = for_components(context, self._context_shapes)
        try:
            centres = self._components(some, *shared).mean  # (*batch, K, latent_dim)
        except NotImplementedError:
            raise ValueError(
                "Exemplar expects a posterior whose mean is known, got one without (a flow); use DiagonalNormal"
            ) from None
        logits = some.new_zeros(len(some))
        if x is not None:
            own = self._fingerprints(x).unsqueeze(1) == self._fingerprints(some)  # (batch, K)
            logits = torch.where(own & ~own.all(-1, keepdim=True), -math.inf, logits)
        return Mixture(logits, DiagonalNormal(centres, positive(self.raw_scale).expand_as(centres)))

    def forward(self, *context: Tensor, obs: Tensor | None = None, x: Tensor | None = None) -> Tensor:
        """Sample at the site; in train mode, for data x, of the mixture without themselves."""
        return self._sampled(self.given(*context, x=x if self.training else None), obs)

    def _fingerprints(self, x: Tensor) -> Tensor:
        """A sum of the bits of each datum (n, *x_shape) times odd numbers, modulo 2^64: (n,), exact in any order.

        Two data that differ have the same with a probability below 2^-30; to compare their elements would cost (batch,
        K, *x_shape).
        """
        values = (x.flatten(1).to(self.exemplars) + 0.0).contiguous()  # + 0.0: of -0.0, too
        words = values.view(torch.int32 if values.element_size() > 2 else torch.int16)
        return (words.long() * self._multipliers[: words.shape[-1]]).sum(-1)

    def start_from_codes(self, z: Tensor, x: Tensor, *context: Tensor) -> None:
        """Initialize the scale with the most likely one of 1,000 codes z, without themselves, by 100 steps of EM."""
        with torch.no_grad():
            mixture = self.given(*(c[:_CODES] for c in context), x=x[:_CODES])
            centres = in_float64(mixture.components.mean)
            squares = (in_float64(z[:_CODES]).unsqueeze(1) - centres).square().sum(-1)  # (n, K)
            log_weights, variance = in_float64(mixture.log_weights), squares.mean() / z.shape[1]
            for _ in range(100):
                shares = (log_weights - squares / (2 * variance.clamp_min(1e-12))).softmax(-1)
                variance = (shares * squares).sum(-1).mean() / z.shape[1]
            self.raw_scale.copy_(unconstrained(variance.sqrt()))

    def settings(self) -> str:
        """What `formula` adds."""
        return str(len(self.exemplars))
