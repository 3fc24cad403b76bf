"""The contractive autoencoder's penalty: the squared norm of the Jacobian of the code."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_vae import distributions, traces
from ppl_vae.arguments import Count, NonNegative, checked
from ppl_vae.objectives.penalized import Penalized, by_unit
from ppl_vae.support import layers

__all__ = ["Contractive"]

_ONCE = (
    *(dist.Beta, dist.Dirichlet, dist.Gamma, dist.StudentT, dist.MultivariateStudentT),
    *(distributions.Beta, distributions.PowerSpherical, distributions.StudentT),
)


@checked
class Contractive(Penalized):
    """Trace_ELBO's loss + weight * sum over the data of ||d z / d x||^2, z the guide's draw: no bound.

    The norm is Frobenius's, over every latent site and the elements of x that were observed, in x's own units. Of a
    `Point` posterior z is the code, of another one a draw with its noise fixed. With a corruption in the guide it is
    taken at the corrupted x, and what masking set to 0 adds nothing. In a hierarchy z1 depends on x through z2 too.
    Wrong where the code of a datum depends on other data (batch normalization): the gradient is of a sum over the
    batch.
    Weights of the data scale the penalty by their mean. `fit` chooses the best epoch by the ELBO, without the penalty.

    Parameters
    ----------
    weight
        Weight of the penalty, in nats per squared unit.
    num_projections
        `None` for the exact norm, one backward pass a latent unit and particle; else the number of random
        projections v^T d z / d x, v ~ N(0, I), one pass each, whose mean square is unbiased.
    num_particles
        Number of draws.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For a negative weight or no projections.

    References
    ----------
    Rifai et al. 2011, icml.cc/2011/papers/455_icmlpaper.pdf; Hutchinson 1989, doi:10.1080/03610918908812806 (the
    projections).
    """

    differentiates_x = True

    def __init__(
        self, weight: NonNegative = 0.1, num_projections: Count | None = None, num_particles: Count = 1
    ) -> None:
        super().__init__(weight, num_particles)
        self.num_projections = num_projections

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, its gradient added to the parameters'.

        Raises
        ------
        ValueError
            For draws that can be differentiated once only, and whatever `check` refuses.
        """
        try:
            return super().loss_and_grads(model, guide, *args, **kwargs)
        except RuntimeError as error:
            if not any(said in str(error) for said in ("once_differentiable", "_standard_gamma_grad")):
                raise
            raise _once("some") from error

    def _check(self, model: Trace, guide: Trace) -> None:
        """Refuse discrete codes, whose derivative is zero, and draws without a second one, which torch takes for 0."""
        if codes := [name for name, site in traces.latents(guide).items() if traces.discrete(site)]:
            raise ValueError(
                f"Contractive expects codes that move with x, got discrete ones at {codes} (VectorQuantized), whose "
                "derivative is zero; use Commitment, or another posterior"
            )
        for name, site in traces.latents(guide).items():
            if any(isinstance(layer, _ONCE) for layer in layers(site["fn"])):
                raise _once(repr(name))

    def _penalty(self, model: Trace, guide: Trace, x: Tensor) -> Tensor:
        where = traces.plates(model, len(x), name=self.data_plate)
        sites = traces.latents(guide).values()
        z = torch.cat([by_unit(s["value"], s["fn"].event_dim, where).movedim(1, -1).flatten(0, 1) for s in sites])
        if self.num_projections is None:
            weights, num = torch.eye(len(z)).to(z).unsqueeze(-1), 1  # one unit of one particle at a time
        else:
            weights, num = torch.randn(self.num_projections, *z.shape).to(z), self.num_projections
        return sum((_squared_gradient((w * z).sum(), x) for w in weights), z.new_zeros(())) / (num * self.num_particles)


def _once(what: str) -> ValueError:
    return ValueError(
        "Contractive expects draws of q that can be differentiated twice, by x and by the parameters, got "
        f"{what}, whose sampler can be once only, as those of Beta, Dirichlet, Gamma and StudentT; use another "
        "posterior, or InfoVAE"
    )


def _squared_gradient(y: Tensor, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    return gradient.square().sum()
