"""A whole training step as one compiled graph: gradients, checked and clipped, and the optimizer's step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ppl_vae.assumed import assuming
from ppl_vae.compiled import Compiler
from ppl_vae.replayed import FEW, Replayed
from ppl_vae.training.batches import Batch
from ppl_vae.training.gradients import Gradients
from ppl_vae.training.optim import NamedOptim
from ppl_vae.training.updates import Update

__all__ = ["Whole"]


class Whole:
    """The steps on batches of one kind and size, compiled with the optimizer's.

    Parameters
    ----------
    gradients
        The gradients on such batches.
    optim
        The optimizer.
    compiler
        Compiles the graph.
    going
        Whether every step so far was finite, (); a step that is replayed where it is not changes nothing.

    Attributes
    ----------
    replays, compiled
        Number of steps that were replayed in torch's own kernels, and of those that were compiled.
    steady
        Whether the last step was compiled as a whole, and neither called nor compared.
    """

    def __init__(self, gradients: Gradients, optim: NamedOptim, compiler: Compiler, going: Tensor) -> None:
        self.gradients, self.optim, self.compiler, self.going = gradients, optim, compiler, going
        self.update = Update(optim.optimizer, optim.parameters, optim.counters)
        if gradients.trained.processes.size > 1:
            self.update.why_not = "the optimizer's step is not part of it, as several processes sum gradients before it"
        if optim.paced:
            self.update.why_not = "the optimizer's step is not part of it, as some steps move q's parameters alone"
        self.graph = Replayed(self._graph, self._called, most=2, by=compiler, close=self._alike)
        self.graph.reason = self.update.why_not
        self.replays = self.compiled = 0
        self.steady, self._missed = False, 0
        self._numbers: list[Tensor] = []
        self._state: list[Tensor] = []

    def why_called(self) -> str | None:
        """Why a step is no graph; `None` where it is."""
        if self.gradients.summed:
            return "a discrete latent is summed over"
        return self.gradients.trained.why_called or self.gradients.replayed.reason

    def why_not_compiled(self) -> str | None:
        """Why a step is not compiled, or not as a whole; `None` where it is."""
        return self.why_called() or self.graph.reason or self.compiler.reason

    def step(self, batch: Batch, beta: float, *, validated: bool, replay: bool, compile: bool) -> bool | Tensor:
        """Take the step; whether all is finite, and x in its support. Where it is not, nothing was stepped.

        A compiled step returns a tensor: reading it waits for the GPU.

        Raises
        ------
        FloatingPointError, ValueError
            See `Gradients.compute`.
        """
        if compile and self.why_not_compiled() is None:
            return self._whole(batch, beta, validated=validated)
        replayed = self.gradients.replayed
        if compile and self.update.why_not and replayed.by != self.compiler.where_possible:
            replayed.make_by(self.compiler.where_possible)
        self.steady, before = False, replayed.replays
        fine = self.gradients.compute(batch, beta, validated=validated, replay=replay or compile)
        self._count(replayed.replays - before, compiled=replayed.by == self.compiler.where_possible)
        if fine:
            self.optim(self.gradients.named)
        return fine

    def uncount(self) -> None:
        """Take back that a compiled step was counted, which changed nothing; give the graph up where many are such."""
        self.update.count(-1)
        self._count(-1, compiled=True)
        self._missed += 1
        if self._missed > FEW and self._missed > self.compiled / FEW:
            self.graph.reason = "what the graph assumes does often not hold"

    def _whole(self, batch: Batch, beta: float, *, validated: bool) -> bool | Tensor:
        self.steady, trains = False, self.gradients.trains
        self.gradients.given(batch, beta, validated=validated)
        if trains is not self.gradients.trains:  # something was frozen
            self.graph.make_by(self.compiler)
        self.graph.reason = self.update.changed()
        before = self.graph.replays
        self._numbers, self._state = [*self.update.numbers(), self.going], self.update.state()
        fine, values, *buffers = self.graph(*self._numbers, *self._state, *self.gradients.tensors(), again=validated)
        self.gradients.take_terms(values)
        self.gradients.trained.put_buffers(buffers)
        self.steady = self.graph.replays > before
        if not self.steady:
            return bool(fine)
        self._count(1, compiled=True)
        self.update.count()
        return fine

    def _count(self, taken: int, *, compiled: bool) -> None:
        self.compiled += taken if compiled else 0
        self.replays += 0 if compiled else taken

    def _called(self, *_: Tensor) -> list[Tensor]:
        """The step as it is: gradients by Pyro, and torch's optimizer."""
        if not self.going:
            raise FloatingPointError("an earlier step was not finite")
        fine, values, *found = self.gradients.called()
        self.going.copy_(fine)
        if fine:
            self.optim(self.gradients.named)
        return [fine, values, *found[len(self.gradients.trained.parameters) :]]

    def _graph(self, *tensors: Tensor) -> list[Tensor]:
        """The same as a function of the optimizer's numbers and state, and of what the gradients depend on."""
        *numbers, going = tensors[: len(self._numbers)]
        rest = tensors[len(self._numbers) :]
        state, rest = rest[: len(self._state)], rest[len(self._state) :]
        names = list(self.gradients.trained.parameters)
        with assuming() as assumed:
            fine, values, *found = self.gradients.graph(*rest)
        parameters = dict(zip(names, rest, strict=False))
        gradients = {n: g for n, g in zip(names, found, strict=False) if g.shape == parameters[n].shape}
        gradients = {n: g for n, g in gradients.items() if n in self.optim.parameters}
        gradients, finite = self._clipped(gradients)
        # where an assumption fails nothing may change: the step is called then
        fine = torch.stack([fine & finite & going, *assumed]).all()
        going.copy_(fine)
        for old, new in list(self.update.step(numbers, state, parameters, gradients)):
            old.copy_(torch.where(fine, new, old))
        return [fine, values, *found[len(names) :]]

    def _alike(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        """Whether a step of the graph is the expected one: each result, and the optimizer's state as a whole.

        Where a gradient is nothing but rounding, as before batch norm, an adaptive step may have either sign: so the
        parameters are compared roughly, where there is a state that tells a wrong gradient.
        """
        trained, sizes = self.gradients.trained, (len(self._numbers), len(self._state))
        results = len(found) - sum(sizes) - len(self.gradients.tensors())
        first, last = results + sizes[0], results + sum(sizes)
        weights = slice(last, last + len(trained.parameters))
        dtype = self._numbers[0].dtype
        rounding = 10 * torch.finfo(torch.bfloat16).eps if trained.precision else 1000 * torch.finfo(dtype).eps
        return (
            len(found) == len(expected)
            and _near(found[first:last], expected[first:last], rounding)
            and _near(found[weights], expected[weights], 1e-2 if self._state else rounding)
            and self.gradients.alike(
                [*found[:first], *found[weights.stop :]], [*expected[:first], *expected[weights.stop :]]
            )
        )

    def _clipped(self, gradients: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The gradients, no longer together than they may be, and whether all are finite."""
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()]))
        if self.optim.clip_norm is not None:
            factor = (self.optim.clip_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ has it
            gradients = {name: g * factor for name, g in gradients.items()}
        return gradients, norm.isfinite()


def _near(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> bool:
    """Whether tensors of one dtype are together as near as that, in the norm relative to its own."""
    pairs = list(zip(found, expected, strict=True))
    far = sum(float((a - b.detach()).square().sum()) for a, b in pairs)
    return far <= tolerance**2 * sum(float(b.detach().square().sum()) for _, b in pairs)
