"""Shape and support checks of values before they are scored, and placeholders inside a support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch import Tensor
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

__all__ = [
    "EachColumn",
    "OneHotVectors",
    "check_shape",
    "check_values",
    "element_mask",
    "filled",
    "inside",
    "layers",
    "measure",
    "unwrapped",
]

Site = Mapping[str, Any]
_BATCHES = (dist.Independent, MaskedDistribution, ExpandedDistribution)


class EachColumn(Constraint):
    """A support for each column of x, its last dimension; a mass where all of them are.

    Parameters
    ----------
    parts
        The support of each group of columns.
    columns
        The columns of each group; together 0, ..., d - 1, each once.
    """

    def __init__(self, parts: Sequence[Constraint], columns: Sequence[Sequence[int]]) -> None:
        self.parts, self.columns = tuple(parts), tuple(map(tuple, columns))

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        """Whether the values of every column are countable."""
        return all(part.is_discrete for part in self.parts)

    @property
    def discrete(self) -> tuple[bool, ...]:
        """Whether the values of each column are countable."""
        found = {j: bool(p.is_discrete) for p, columns in zip(self.parts, self.columns, strict=True) for j in columns}
        return tuple(found[j] for j in range(len(found)))

    def split(self, value: Tensor) -> list[Tensor]:
        """The columns of each group, (*leading, columns of the group)."""
        return [value[..., list(columns)] for columns in self.columns]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """The columns in their order, (*leading, d), from those of each group; leading dimensions broadcast."""
        leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        values = torch.cat([part.expand(*leading, part.shape[-1]) for part in parts], -1)
        order = [j for columns in self.columns for j in columns]
        return values if order == sorted(order) else values[..., sorted(range(len(order)), key=order.__getitem__)]

    def check(self, value: Tensor) -> Tensor:
        """Whether each element lies in the support of its column."""
        return self.joined([p.check(v) for p, v in zip(self.parts, self.split(value), strict=True)])


class OneHotVectors(Constraint):
    """Vectors that concatenate one-hot vectors of one length.

    Parameters
    ----------
    size
        The length of each.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, size: int) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"OneHotVectors({self.size})"

    def check(self, value: Tensor) -> Tensor:
        """Which vectors (*leading, units * size) are such, (*leading,)."""
        parts = value.unflatten(-1, (-1, self.size))
        bits = ((parts == 0) | (parts == 1)).all(-1)
        return torch.as_tensor((bits & (parts.sum(-1) == 1)).all(-1))


def layers(fn: Any) -> Iterator[Any]:
    """A distribution and the base distributions it wraps, outermost first."""
    while fn is not None:
        yield fn
        fn = getattr(fn, "base_dist", None)


def unwrapped(fn: Any) -> Any:
    """The base distribution, without masking, expansion and `to_event`."""
    return next(layer for layer in layers(fn) if not isinstance(layer, _BATCHES))


def element_mask(fn: Any) -> Tensor | bool:
    """True where an element of the value is scored; event dimensions that share one log density have size 1."""
    masked = next((layer for layer in layers(fn) if isinstance(getattr(layer, "_mask", True), Tensor)), None)
    return True if masked is None else masked._mask.reshape(*masked._mask.shape, *(1 for _ in masked.event_shape))


def measure(fn: Any) -> str:
    """What `log_prob` is the log of: ``"mass"`` or ``"density"``; of mixed columns which is which.

    A distribution that names no support counts as a density.
    """
    try:
        support = unwrapped(fn).support
    except NotImplementedError:
        return "density"
    each = support.discrete if isinstance(support, EachColumn) else (bool(support.is_discrete),)
    if len(set(each)) == 1:
        return "mass" if each[0] else "density"
    named = [" ".join(str(j) for j, discrete in enumerate(each) if discrete == wanted) for wanted in (True, False)]
    return f"mixed (mass in columns {named[0]}, density in {named[1]})"


def filled(x: Tensor, mask: Tensor | bool, fn: Any) -> Tensor:
    """x with missing elements replaced by a value in the interior of the support of `fn`.

    There log density and gradient are finite, so that after masking they contribute exactly 0.
    """
    if mask is True:
        return x
    return torch.where(torch.as_tensor(mask, device=x.device), x, _inside(unwrapped(fn).support, x))


def _inside(support: Constraint, like: Tensor) -> Tensor:
    if isinstance(support, EachColumn):
        parts = zip(support.parts, support.split(like), strict=True)
        return support.joined([_inside(part, x).expand(x.shape) for part, x in parts])
    if support.is_discrete:
        return torch.as_tensor(getattr(support, "lower_bound", 0), dtype=like.dtype, device=like.device)
    inside: Tensor = transform_to(support)(torch.zeros_like(like))
    return inside.to(like.dtype)


def check_shape(site: Site, data: int, depth: int) -> None:
    """Refuse a value that would broadcast over the data plate or the event, and so be scored more than once.

    Along the data plate and the event the shapes must be equal. Other plates may repeat a value on purpose, and
    dimensions to the left of the plates are particles and enumeration.

    Parameters
    ----------
    site
        With the value it has in a trace.
    data
        Dimension of the data plate, negative.
    depth
        Number of dimensions the program's plates take.

    Raises
    ------
    ValueError
        Naming both shapes.
    """
    fn, value = site["fn"], site["value"]
    if isinstance(fn, dist.Unit) or site["infer"].get("_deterministic"):  # pyro.factor and pyro.deterministic
        return
    split = value.dim() - len(fn.event_shape)
    batch = value.shape[: max(split, 0)]
    sizes = zip(range(-1, -1 - depth, -1), batch[::-1], fn.batch_shape[::-1], strict=False)
    if (
        value.shape[max(split, 0) :] == fn.event_shape
        and len(batch) >= -data
        and all(came == size or (came == 1 and dim != data) for dim, came, size in sizes)
    ):
        return
    expected = (*fn.batch_shape[max(len(fn.batch_shape) - depth, 0) :], *fn.event_shape)
    raise ValueError(
        f"site {site['name']!r} expects values of the shape of its distribution, {tuple(expected)}, got "
        f"{tuple(value.shape)}, which would be scored more than once, or does not fit at all; reshape the data, or "
        "give the distribution the shape of the data (to_event)"
    )


def check_values(fn: Any, x: Tensor, mask: Tensor | bool = True) -> None:
    """Refuse observed values outside a distribution's support, whether or not Pyro's validation is on.

    Raises
    ------
    ValueError
        Naming the support, what came, and what to do.
    """
    base = unwrapped(fn)
    if isinstance(base.support, EachColumn):
        return _check_columns(base, x, mask)
    if bool(inside(fn, x, mask)):
        return None
    if isinstance(mask, Tensor) and mask.shape[mask.dim() - x.dim() :] == x.shape:
        x = x.expand(mask.shape)[mask]
    name = type(getattr(base, "components", base)).__name__  # of a mixture, those of its components
    came = "NaN" if x.isnan().any() else f"values in [{x.min():g}, {x.max():g}] with {len(x.unique())} distinct levels"
    expected, fix = _SUPPORTS.get(name, (f"x in {base.support}", "convert the data, or choose another likelihood"))
    if x.isnan().any():
        fix = "fill them, or mark them missing with mask="
    raise ValueError(f"{name} expects {expected}, got {came}; {fix}")


def inside(fn: Any, x: Tensor, mask: Tensor | bool | None = None) -> Tensor:
    """Whether all values that are observed, by default those `fn` scores, lie in its support; 0-dimensional."""
    base, mask = unwrapped(fn), element_mask(fn) if mask is None else mask
    lie = base.support.check(x)
    if isinstance(mask, Tensor):
        by_element = isinstance(base.support, EachColumn) or not base.event_shape
        lie = lie | ~(mask if by_element else mask.flatten(-len(base.event_shape)).any(-1))
    return torch.as_tensor(lie).all()


def _check_columns(fn: Any, x: Tensor, mask: Tensor | bool) -> None:
    """`check_values` of each column of a distribution, named in the message."""
    support = fn.support
    outside = ~support.check(x) & torch.as_tensor(mask, device=x.device)
    wrong = set(outside.flatten(0, -2).any(0).nonzero().flatten().tolist())
    for part, columns, some, bad in zip(fn.parts, support.columns, *map(support.split, (x, outside)), strict=True):
        if named := sorted(wrong.intersection(columns)):
            try:
                check_values(part, some, bad)
            except ValueError as error:
                raise ValueError(f"column {', '.join(map(str, named))}: {error}") from None


_SUPPORTS = {
    "Bernoulli": ("x in {0, 1}", "binarize the data (`ppl_vae.data`: binarize) or use ContinuousBernoulli"),
    "ContinuousBernoulli": ("x in [0, 1]", "rescale the data (dequantize), or use Gaussian"),
    "Normal": ("real x", "remove what is not finite"),
    "DiscretizedLogistic": ("whole grey levels", "give the raw levels and their number, or use Gaussian"),
    **dict.fromkeys(
        ("NegativeBinomial", "Poisson", "ZeroInflated", "Multinomial"),
        ("counts x in {0, 1, 2, ...}", "give the raw counts, or use Gaussian"),
    ),
    "Levels": ("whole levels", "give the raw levels and their number, or use Gaussian"),
    "Beta": ("x in [0, 1]", "rescale the data (dequantize), or use Gaussian"),
    **dict.fromkeys(("LogNormal", "Gamma"), ("x above 0", "leave out or shift what is not, or use Gaussian")),
    **dict.fromkeys(
        ("Laplace", "StudentT", "CorrelatedNormal", "LowRankNormal"), ("real x", "remove what is not finite")
    ),
}
