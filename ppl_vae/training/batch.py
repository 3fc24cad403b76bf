"""One batch of data, and what a loader may give in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppl_vae.isolation import recorded
from ppl_vae.split import Split
from ppl_vae.tensors import is_array

__all__ = ["Batch", "as_batch"]


class Batch(NamedTuple):
    """The arguments of a model and guide; from a loader of your own, the way to give a mask.

    Parameters
    ----------
    x
        Data, (batch, *x_shape).
    context
        What they are conditioned on, each (batch, ...).
    mask
        True where an element of x was observed, (batch, *x_shape); `True` where all were.
    """

    x: Tensor
    context: tuple[Tensor, ...] = ()
    mask: Tensor | bool = True

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The batch on a device, x in the precision of the model, and so are real contexts; labels stay whole."""
        x = recorded(self.x).to(device, dtype, non_blocking=True)
        context = (
            recorded(c).to(device, dtype if c.is_floating_point() else None, non_blocking=True) for c in self.context
        )
        return Batch(x, tuple(context), self.mask.to(device) if isinstance(self.mask, Tensor) else self.mask)

    def first(self, size: int) -> Batch:
        """The first data of the batch."""
        return self.at(slice(0, size))

    def at(self, rows: slice | Tensor) -> Batch:
        """Some data of the batch."""
        mask = self.mask[rows] if isinstance(self.mask, Tensor) else self.mask
        return Batch(self.x[rows], tuple(c[rows] for c in self.context), mask)

    @property
    def kind(self) -> tuple[Any, ...]:
        """The shapes of one datum, and whether there is a mask."""
        return (self.x.shape[1:], tuple(c.shape[1:] for c in self.context), isinstance(self.mask, Tensor))


def as_batch(item: Any) -> Batch:
    """A batch of what a loader gives: x, (x, *context), a mapping from x, context, mask and y, or a `Batch`.

    Labels y are left out: no model is given them but as context.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, Mapping):
        return _of_names(item)
    tensors = tuple(item) if isinstance(item, tuple | list) else (item,)
    if not tensors or not all(map(is_array, tensors)):
        raise TypeError(
            f"training expects batches x or (x, *context) of tensors, got {type(item).__name__} of "
            f"{[type(t).__name__ for t in tensors]}; make such tuples of them (DataLoader: collate_fn)"
        )
    x, *context = tensors
    if not len(x):
        raise ValueError("training expects batches of one datum or more, got an empty one; leave it out")
    split = Split(x, torch.arange(len(x)), context=tuple(context))
    return Batch(split.x, split.context, True if split.mask is None else split.mask)


def _of_names(item: Mapping[str, Any]) -> Batch:
    """A batch given as a mapping from x, context and mask, and labels y."""
    if "x" not in item or not item.keys() <= {"x", "context", "mask", "y"}:
        raise TypeError(
            f"training expects batches that are mappings to have x, and context, mask or labels y beside it, got "
            f"{', '.join(map(str, item))}; rename them, and leave out the rest (DataLoader: collate_fn)"
        )
    context = item.get("context", ())
    context = tuple(context) if isinstance(context, tuple | list) else (context,)
    split = Split(item["x"], torch.arange(len(item["x"])), context=context, mask=item.get("mask"))
    return Batch(split.x, split.context, True if split.mask is None else split.mask)
