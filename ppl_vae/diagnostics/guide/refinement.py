"""Refinement of q by datum: gradient ascent on the ELBO in q's parameters, from the encoder's output."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppl_vae import traces
from ppl_vae.ascent import ascend
from ppl_vae.captured import Function
from ppl_vae.diagnostics.guide.families import family_of
from ppl_vae.draws import score
from ppl_vae.folded import folded
from ppl_vae.modelled import Modelled
from ppl_vae.replayed import Replayed

__all__ = ["Refined", "refine"]

Offsets = dict[str, list[Tensor]]


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
    """

    def __init__(self, program: Modelled, where: traces.Plates, offsets: Offsets | None = None) -> None:
        super().__init__()
        self.program, self.where = program, where
        self.offsets: Offsets = {} if offsets is None else offsets

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """The program's model."""
        return self.program.model(*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The program's guide, the offsets added to its parameters."""
        with _Moved(self.offsets, self.where):
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

    The result of a datum does not depend on the others. Call it inside `session.diagnosing`.

    Raises
    ------
    ValueError
        For whatever `family_of` refuses.
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
            q = Refined(refined.program, where, given)
            elbo = score(q, args, mask, num_particles, 0, num_particles * len(args[0]), where).log_weights.mean(0)
            return list(torch.autograd.grad(-elbo.sum(), leaves, materialize_grads=True))

    return gradients


class _Moved(Messenger):
    """Replaces the distribution of every latent by the member of its family with the offset added to its parameters."""

    def __init__(self, offsets: Offsets, where: traces.Plates) -> None:
        super().__init__()
        self.offsets, self.where = offsets, where

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        name, family = msg["name"], family_of(msg)
        plates = tuple(msg["fn"].batch_shape)[-self.where.depth :]  # one offset for all particles
        data = len(plates) + self.where.data
        if name not in self.offsets:
            shapes = [(*plates, *p.shape[family.num_batch :]) for p in family.params]
            self.offsets[name] = [p.new_zeros(s).movedim(data, 0) for p, s in zip(family.params, shapes, strict=True)]
        moved = (p + o.movedim(0, data) for p, o in zip(family.params, self.offsets[name], strict=True))
        msg["fn"] = family.member(*moved)
