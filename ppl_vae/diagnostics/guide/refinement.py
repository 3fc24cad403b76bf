"""Refinement of q by datum: gradient ascent on the ELBO in q's parameters, from the encoder's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppl_vae import support, traces
from ppl_vae.ascent import ascend
from ppl_vae.captured import Function
from ppl_vae.diagnostics.guide.families import family_of
from ppl_vae.draws import score
from ppl_vae.folded import folded
from ppl_vae.modelled import Modelled
from ppl_vae.replayed import Replayed

__all__ = ["Refined", "refine"]

Offsets = dict[str, list[Tensor]]
Shape = Sequence[int]


class Refined(nn.Module):
    """A program whose guide adds an offset per datum to the unconstrained parameters of q.

    Networks, including those of a flow, stay fixed; only their outputs are changed. With offset 0 the guide is that of
    the program.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    where
        Position of the data plate among its plates.
    offsets
        By site, for each parameter, (n, *other plates, *param_shape); zeros for sites that have none yet.
    by_path
        Whether log q has a gradient by the offsets along its draws alone: see `refine`.
    """

    def __init__(
        self, program: Modelled, where: traces.Plates, offsets: Offsets | None = None, *, by_path: bool = False
    ) -> None:
        super().__init__()
        self.program, self.where, self.by_path = program, where, by_path
        self.offsets: Offsets = {} if offsets is None else offsets

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """The program's model."""
        return self.program.model(*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The program's guide, the offsets added to its parameters."""
        with _Moved(self.offsets, self.where, self.by_path):
            return self.program.guide(*args, **kwargs)

    def __getitem__(self, rows: slice | Tensor) -> Refined:
        """For some of the data."""
        return self._map(lambda offset: offset[rows])

    def only(self, chosen: Tensor) -> Refined:
        """Offset 0 where `chosen`, (n,), is false."""
        return self._map(lambda offset: offset.where(chosen.reshape(-1, *[1] * (offset.dim() - 1)), 0.0))

    def _map(self, f: Callable[[Tensor], Tensor]) -> Refined:
        return Refined(self.program, self.where, {name: [f(o) for o in given] for name, given in self.offsets.items()})


def refine(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    where: traces.Plates,
    *,
    num_steps: int,
    num_particles: int,
    learning_rate: float,
    on_step: Callable[[], Any] = lambda: None,
) -> Refined:
    """Maximize each datum's ELBO over the parameters of its q, from the encoder's output, by Adam with cosine decay.

    Its gradient leaves out the score d log q / d parameters, whose mean is 0 ("sticking the landing"): with half the
    draws and two thirds of the steps the ELBO comes out higher. The score stays where log q of a draw would need the
    inverse of a transform, as of a flow. The result of a datum does not depend on the others. Call it inside
    `session.diagnosing`.

    Raises
    ------
    ValueError
        For whatever `family_of` refuses.

    References
    ----------
    Roeder et al. 2017, arXiv:1703.09194.
    """
    refined = Refined(program, where)
    score(refined, args, mask, 1, 0, num_particles * len(args[0]), where)  # creates the offsets
    gradients = Replayed(_gradients(refined, args, mask, num_particles, where), by=folded)
    offsets = [o for given in refined.offsets.values() for o in given]
    ascend(gradients, offsets, num_steps=num_steps, learning_rate=learning_rate, on_step=on_step)
    return refined


def _gradients(
    refined: Refined, args: tuple[Tensor, ...], mask: Tensor | bool, num_particles: int, where: traces.Plates
) -> Function:
    """The gradient of minus the ELBO, from draws of their own, as a function of the offsets."""

    def gradients(*offsets: Tensor) -> list[Tensor]:
        leaves = [o.detach().requires_grad_() for o in offsets]
        left = iter(leaves)
        given = {name: list(islice(left, len(some))) for name, some in refined.offsets.items()}
        with torch.enable_grad():
            q = Refined(refined.program, where, given, by_path=True)
            elbo = score(q, args, mask, num_particles, 0, num_particles * len(args[0]), where).log_weights.mean(0)
            return list(torch.autograd.grad(-elbo.sum(), leaves, materialize_grads=True))

    return gradients


class _Moved(Messenger):
    """Replaces the distribution of every latent by the member of its family with the offset added to its parameters."""

    def __init__(self, offsets: Offsets, where: traces.Plates, by_path: bool) -> None:
        super().__init__()
        self.offsets, self.where, self.by_path = offsets, where, by_path

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        name, family = msg["name"], family_of(msg)
        plates = tuple(msg["fn"].batch_shape)[-self.where.depth :]  # one offset for all particles
        data = len(plates) + self.where.data
        if name not in self.offsets:
            shapes = [(*plates, *p.shape[family.num_batch :]) for p in family.params]
            self.offsets[name] = [p.new_zeros(s).movedim(data, 0) for p, s in zip(family.params, shapes, strict=True)]
        moved = [o.movedim(0, data) for o in self.offsets[name]]
        msg["fn"] = family.member(*map(torch.add, family.params, moved))
        if self.by_path and not any(isinstance(fn, dist.TransformedDistribution) for fn in support.layers(msg["fn"])):
            # parameters stay functions of the draws at levels above: of an exact q the gradient is then 0
            still = family.member(*(p + o.detach() for p, o in zip(family.params, moved, strict=True)))
            msg["fn"] = _ByPath(msg["fn"], still)


class _ByPath(TorchDistribution):
    """Draws from one distribution, and the density of an equal one, whose parameters have no gradient."""

    has_rsample = True
    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, drawn: TorchDistribution, still: TorchDistribution) -> None:
        self.drawn, self.still = drawn, still
        super().__init__(drawn.batch_shape, drawn.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of both."""
        return self.drawn.support

    def expand(self, batch_shape: Shape, _instance: Any = None) -> _ByPath:
        """Expanded to `batch_shape`."""
        return _ByPath(self.drawn.expand(batch_shape), self.still.expand(batch_shape))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Draws, with a gradient."""
        drawn: Tensor = self.drawn.rsample(torch.Size(sample_shape))
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        found: Tensor = self.still.log_prob(value)
        return found
