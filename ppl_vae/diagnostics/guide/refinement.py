"""q refined datum by datum: the best member of its family that is found from where the encoder put it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppl_vae import traces
from ppl_vae.diagnostics.guide.families import family_of
from ppl_vae.draws import score
from ppl_vae.modelled import Modelled

__all__ = ["Refined", "refine"]

Offsets = dict[str, list[Tensor]]


class Refined(nn.Module):
    """A program whose guide, for some data, has an offset of its own added to every parameter of every datum's q.

    Networks stay as they are, those of a flow too: what is freed is what they compute from x. At offset 0 it is the
    guide of the program.

    Parameters
    ----------
    program
        Anything with `.model` and `.guide`.
    where
        Where the data lie in its plates.
    offsets
        By site, for each parameter, (n, *other plates, *param_shape); made as zeros for sites that have none yet.
    """

    def __init__(self, program: Modelled, where: traces.Plates, offsets: Offsets | None = None) -> None:
        super().__init__()
        self.program, self.where = program, where
        self.offsets: Offsets = {} if offsets is None else offsets

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """The program's own."""
        return self.program.model(*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """The program's, its parameters moved by the offsets."""
        with _Moved(self.offsets, self.where):
            return self.program.guide(*args, **kwargs)

    def __getitem__(self, rows: slice | Tensor) -> Refined:
        """For some of the data."""
        return self._map(lambda offset: offset[rows])

    def only(self, chosen: Tensor) -> Refined:
        """Offset 0 for all data but those chosen, (n,)."""
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
    """Climb each datum's ELBO in the parameters of its own q, from the encoder's output, by Adam with a decaying rate.

    Adam works on every element alone, so data do not see each other. Call it inside `session.diagnosing`.

    Raises
    ------
    ValueError
        For whatever `family_of` refuses.
    """
    refined = Refined(program, where)
    max_rows = num_particles * len(args[0])
    with torch.enable_grad():
        score(refined, args, mask, 1, 0, max_rows, where)  # makes the offsets
        offsets = [o.requires_grad_() for given in refined.offsets.values() for o in given]
        adam = torch.optim.Adam(offsets, lr=learning_rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
        for _ in range(num_steps):
            elbo = score(refined, args, mask, num_particles, 0, max_rows, where).log_weights.mean(0)
            grads = torch.autograd.grad(-elbo.sum(), offsets, materialize_grads=True)
            for offset, grad in zip(offsets, grads, strict=True):
                offset.grad = grad.nan_to_num(0.0, 0.0, 0.0)  # non-finite gradient: freeze that datum
            adam.step()
            decay.step()
            on_step()
    return refined._map(Tensor.detach)


class _Moved(Messenger):
    """Replaces the distribution of every latent by one of its family, an offset added to its parameters."""

    def __init__(self, offsets: Offsets, where: traces.Plates) -> None:
        super().__init__()
        self.offsets, self.where = offsets, where

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        name, family = msg["name"], family_of(msg)
        plates = tuple(msg["fn"].batch_shape)[-self.where.depth :]  # what particles differ in is not freed
        data = len(plates) + self.where.data
        if name not in self.offsets:
            shapes = [(*plates, *p.shape[family.num_batch :]) for p in family.params]
            self.offsets[name] = [p.new_zeros(s).movedim(data, 0) for p, s in zip(family.params, shapes, strict=True)]
        moved = (p + o.movedim(0, data) for p, o in zip(family.params, self.offsets[name], strict=True))
        msg["fn"] = family.member(*moved)
