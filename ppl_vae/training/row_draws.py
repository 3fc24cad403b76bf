"""Random numbers of some rows of a batch: those that these rows are given where the whole batch is drawn at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl_vae import traces
from ppl_vae.isolation import gpus
from ppl_vae.modelled import Modelled
from ppl_vae.training.batch import Batch

__all__ = ["RowDraws", "check_sum"]

_OF_SIZE = {"rand", "randn", "randint"}
_OF_TENSORS = {"normal", "bernoulli", "multinomial", "rand_like", "randn_like", "randint_like", "gumbel_softmax"}
_OF_TENSORS |= {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu"}
_IN_PLACE = {"normal_", "uniform_", "exponential_", "bernoulli_", "log_normal_", "cauchy_", "geometric_", "random_"}
_REJECTION = {"poisson", "binomial", "_standard_gamma", "_sample_dirichlet"}
"""How many random numbers they use depends on their parameters, and so on rows that are not there."""
_MOST = 1e-4  # of the norm of a gradient; float32 sums in another order differ by 1e-6


class RowDraws(TorchFunctionMode):
    """A scope in which every draw for some rows of a batch is that which the rows have in a draw for all of them.

    Each draw is made for the whole batch, from torch's generators, and the other rows are dropped: processes whose
    generators agree go on agreeing. The cost is that of all random numbers in every process. The dimension of the rows
    is the first one of their number; what has none is drawn as it is. So no dimension to the left of the data may have
    that number: see `Processes.check_rows`.

    Parameters
    ----------
    total
        Rows of the whole batch.
    rows
        Which are there.

    Raises
    ------
    ValueError
        For draws by rejection (gamma, beta, Dirichlet, Poisson, binomial), which take as many random numbers as the
        rows that are not there ask for.
    """

    def __init__(self, total: int, rows: slice) -> None:
        super().__init__()
        self.total, self.rows, self.size = total, rows, rows.stop - rows.start

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in _IN_PLACE:
            return self._in_place(func, args, given)
        if name in _OF_TENSORS and any(isinstance(a, Tensor) for a in (*args, *given.values())):
            return self._of_tensors(func, args, given)
        if name in _OF_SIZE or name == "normal":
            return self._of_size(func, args, given)
        if name in _REJECTION and self._dim(args[0].shape) is not None:
            raise ValueError(
                "several processes expect draws that use as many random numbers whatever their parameters are, got "
                f"draws by rejection ({name.strip('_')}); train in one process, or with latents of another family"
            )
        return func(*args, **given)

    def _dim(self, shape: Sequence[int]) -> int | None:
        return next((dim for dim, size in enumerate(shape) if size == self.size), None)

    def _own(self, drawn: Tensor, dim: int) -> Tensor:
        return drawn.narrow(dim, self.rows.start, self.size)

    def _wide(self, value: Any) -> Any:
        """A parameter for the whole batch, with some row of those here in the place of each that is not."""
        dim = self._dim(value.shape) if isinstance(value, Tensor) else None
        if dim is None:
            return value
        where = torch.zeros(self.total, dtype=torch.long, device=value.device)
        where[self.rows] = torch.arange(self.size, device=value.device)
        wide = value.index_select(dim, where)
        last = value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        return wide.contiguous(memory_format=torch.channels_last) if last else wide  # numbers are drawn in this order

    def _of_tensors(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        shape = torch.broadcast_shapes(*(t.shape for t in tensors))
        dim = self._dim(shape)
        if dim is None:
            return func(*args, **kwargs)

        def wide(value: Any) -> Any:
            return self._wide(value.expand(shape)) if isinstance(value, Tensor) else value

        return self._own(func(*map(wide, args), **{name: wide(value) for name, value in kwargs.items()}), dim)

    def _in_place(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        into, *rest = args
        if (dim := self._dim(into.shape)) is None:
            return func(*args, **kwargs)
        shape = [self.total if d == dim else size for d, size in enumerate(into.shape)]
        drawn = func(into.new_empty(shape), *map(self._wide, rest), **{n: self._wide(v) for n, v in kwargs.items()})
        return into.copy_(self._own(drawn, dim))

    def _of_size(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        sizes = [a for a in (*args, *kwargs.values()) if isinstance(a, Sequence)]
        before = [a for a in args if not isinstance(a, Sequence)] if sizes else []  # bounds, or mean and sd
        size = sizes[0] if sizes else args
        dim = self._dim(size)
        if dim is None:
            return func(*args, **kwargs)
        wide = [self.total if d == dim else length for d, length in enumerate(size)]
        rest = {name: value for name, value in kwargs.items() if name != "size"}
        return self._own(func(*before, wide, **rest), dim)


def check_sum(program: Modelled, objective: Any, batch: Batch, beta: float, seed: int) -> None:
    """Refuse an objective whose gradient on a batch is not the sum of those on its parts, each with its own draws.

    Call it in a scope that restores the modes, the buffers and the random states, in train mode.

    Raises
    ------
    ValueError
        For one that depends on a batch as a whole: batch norm, a mean KL with a threshold (`FreeBits`, `Capacity`), a
        minibatch estimate of the aggregated posterior (MMD, total correlation), a codebook that the batch updates.
    """
    if not getattr(objective, "sums_over_data", True):
        name = type(objective).__name__
        raise ValueError(
            f"several processes expect an objective that is a sum over data, got {name}, which is a function of a "
            "whole batch (a mean KL, an MMD, a mixture of its posteriors); train in one process, or with another one"
        )
    size = len(batch.x)
    buffers = {name: b.clone() for name, b in program.named_buffers()}
    whole = _gradient(program, objective, batch, beta, seed, slice(0, size))
    halves = [slice(0, size // 2), slice(size // 2, size)]
    parts = torch.stack([_gradient(program, objective, batch, beta, seed, rows) for rows in halves]).sum(0)
    moved = [name for name, b in program.named_buffers() if not torch.equal(b, buffers[name])]
    difference = float((parts - whole).norm() / whole.norm().clamp_min(torch.finfo(whole.dtype).tiny))
    if moved or not difference < _MOST:
        what = (
            f"buffers that each batch changes ({moved[0]})" if moved else f"one that differs by {difference:.2g} of it"
        )
        raise ValueError(
            "several processes expect the gradient of a batch to be the sum of those of its rows, got "
            f"{what}: batch norm, an MMD or a codebook depends on the batch as a whole; train in one process, or leave "
            "that part out"
        )


def _gradient(program: Modelled, objective: Any, batch: Batch, beta: float, seed: int, rows: slice) -> Tensor:
    """The gradient of the loss on some rows by all parameters, flattened."""
    some, parameters = batch.at(rows), [p for p in program.parameters() if p.requires_grad]
    with torch.random.fork_rng(gpus(program)), RowDraws(len(batch.x), rows):
        torch.default_generator.manual_seed(seed)
        for device in gpus(program):
            torch.cuda.default_generators[device].manual_seed(seed)
        model_and_guide = program.model, program.guide
        objective.loss_and_grads(*model_and_guide, some.x, *some.context, **traces.model_kwargs(some.mask, beta))
    found = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    for p in parameters:
        p.grad = None
    return torch.cat(found)
