"""What a latent site of a guide and that of its model must have in common for log p - log q to be a log weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.distributions.constraints import Constraint

from ppl_vae.bare_support import bounds, of_components, of_each, support_of
from ppl_vae.precision import in_float64
from ppl_vae.support import OneHotVectors, layers, unwrapped

__all__ = ["check", "check_events", "check_whole", "contains", "in_own_plates", "scored", "varies"]

Site = Mapping[str, Any]


def check(q: Site, p: Site) -> None:
    """Refuse, by a ValueError, a latent with other plates or masks in guide and model, or of another support."""
    _check_plates(q, p)
    _check_masks(q, p)
    _check_draw(q, p)


def varies(q: Site, p: Site) -> bool:
    """Whether the masks or the supports of a latent are tensors, which may be others for other data."""
    masks = [
        mask for site in (q, p) for mask in (site["mask"], *(getattr(fn, "_mask", None) for fn in layers(site["fn"])))
    ]
    ends = [end for site in (q, p) for end in bounds(_support(site["fn"])) or ()]
    return any(isinstance(each, Tensor) and each.dim() > 0 for each in (*masks, *ends))


def _check_draw(q: Site, p: Site) -> None:
    """Refuse a posterior whose support is not contained in that of its prior.

    Judged by the bounds of both supports, where they have some, and by a draw from q; rounding errors on a simplex or a
    sphere that both share are tolerated.

    Raises
    ------
    ValueError
        Naming both supports.
    """
    ours, theirs = _support(q["fn"]), _support(p["fn"])
    if theirs is None or (type(ours) is type(theirs) and not hasattr(theirs, "size") and bounds(theirs) is None):
        return
    point = any(isinstance(fn, dist.Delta) and not getattr(fn, "anywhere", False) for fn in layers(q["fn"]))
    if (point or _within(ours, theirs)) and _drawn_within(support_of(p["fn"]), q["value"]):
        return
    raise ValueError(
        f"a posterior expects draws in the support of its prior, got {q['name']!r} from {_named(q['fn'])} on {ours} "
        f"for {_named(p['fn'])} on {theirs}, where p(z) = 0 or no density; choose another prior, or give the posterior "
        f"a distribution on {theirs}{'' if theirs.is_discrete else ' (TransformedDistribution by biject_to(support))'}"
    )


def _check_plates(q: Site, p: Site) -> None:
    """Refuse, by a ValueError, a latent that a plate scales by one factor in the model and by another in the guide."""
    ours, theirs = ({f.name: (f.full_size, f.size) for f in site["cond_indep_stack"]} for site in (q, p))
    for name in sorted(ours.keys() & theirs.keys()):
        (size, rows), (size_p, rows_p) = ours[name], theirs[name]
        if size * rows_p != size_p * rows:
            raise ValueError(
                f"a plate expects one size in model and guide, got {size_p} in the model and {size} in the guide at "
                f"{name!r}: log p and log q would be scaled differently; write pyro.plate({name!r}, len(x)) in both"
            )


def check_whole(sites: Iterable[Site], data: int, size: int) -> None:
    """Refuse, by a ValueError, a plate of which some are drawn, but for that over the data, of a dimension and size.

    It may have another name in the guide. Over one datum plates of one are not told from each other: they are let
    through.
    """
    for frame in (frame for site in sites for frame in site["cond_indep_stack"]):
        over_data = frame.size == size and (frame.dim == data or size == 1)
        if frame.full_size not in (None, frame.size) and not over_data:
            raise ValueError(
                f"a plate other than that over the data expects all that it is over, got {frame.size} of "
                f"{frame.full_size} at {frame.name!r}: each draw of a datum would be scored by others of them; leave "
                f"out subsample_size= and subsample=, pyro.plate({frame.name!r}, {frame.full_size})"
            )


def check_events(q: Site, p: Site) -> None:
    """Refuse, by a ValueError, a latent with other event dimensions in the guide than in the model."""
    ours, theirs = (len(site["fn"].event_shape) for site in (q, p))
    if ours != theirs:
        raise ValueError(
            f"a latent expects as many event dimensions in model and guide, got {theirs} in the model and {ours} in "
            f"the guide at {q['name']!r}: log p and log q would be of other parts of it; give both the same to_event"
        )


def _check_masks(q: Site, p: Site) -> None:
    """Refuse, by a ValueError, a latent of which other elements are masked in the guide than in the model."""
    ours, theirs = torch.broadcast_tensors(scored(q), scored(p))
    if not torch.equal(ours, theirs):
        raise ValueError(
            f"a latent expects one mask in model and guide, got {q['name']!r} with {_share(theirs)} masked in the "
            f"model and {_share(ours)} in the guide: log p without log q is no weight; give the same mask in both"
        )


def in_own_plates(site: Site, log_prob: Tensor, depth: int) -> Tensor:
    """Log densities of a site, after a check that no dimension of a plate in which it is not has values.

    These would be particles, where a sum over a plate has taken its dimension away, and would be added up.

    Raises
    ------
    ValueError
        Naming the site and the shape.
    """
    inside = {frame.dim for frame in site["cond_indep_stack"]}
    if any(size > 1 and -1 - i not in inside for i, size in enumerate(log_prob.shape[::-1][:depth])):
        raise ValueError(
            f"site {site['name']!r} expects dimensions of its own plates, and particles to the left of all plates, got "
            f"log densities of shape {tuple(log_prob.shape)} with {depth} dimensions of plates; keep the dimension of "
            "a plate that is summed over: z.sum(-2, keepdim=True)"
        )
    return log_prob


def scored(site: Site) -> Tensor:
    """Which elements of a site's value no mask leaves out, in a shape that broadcasts with it."""
    masks = [(getattr(layer, "_mask", True), layer.event_shape) for layer in layers(site["fn"])]
    found = torch.tensor(True, device=site["value"].device)
    for mask, event in [*masks, (site["mask"], site["fn"].event_shape)]:
        some = torch.as_tensor(True if mask is None else mask, device=found.device)
        found = found & some.reshape((*some.shape, *(1 for _ in event)))
    return found


def _share(mask: Tensor) -> str:
    return f"{1 - float(in_float64(mask).mean()):.0%}"


def contains(outer: Any, inner: Any) -> bool:
    """Whether the support of a distribution holds that of another, judged by their bounds where they have some."""
    ours, theirs = _support(inner), _support(outer)
    return theirs is None or isinstance(ours, _SURFACES) or _within(ours, theirs)


def _drawn_within(support: Constraint, value: Tensor) -> bool:
    """Whether a draw lies in a support up to rounding; values that are not finite are checked elsewhere."""
    if not value.isfinite().all() or bool(support.check(value).all()):
        return True
    try:
        onto = transform_to(of_components(support))
        return torch.allclose(onto(onto.inv(value)), value, rtol=1e-4, atol=1e-5)
    except NotImplementedError:  # no transform leads there
        return False


def _named(fn: Any) -> str:
    return type(unwrapped(fn)).__name__


def _support(fn: Any) -> Constraint | None:
    """The support of each coordinate, if it is the same independent one."""
    try:
        support: Constraint = of_each(support_of(fn))
    except NotImplementedError:
        return None
    return support


def _within(inner: Constraint | None, outer: Constraint) -> bool:
    """Whether an interval lies within another; True if either is no interval, where only draws are checked."""
    if isinstance(outer, OneHotVectors):
        return isinstance(inner, OneHotVectors) and inner.size == outer.size
    ours, theirs = None if inner is None else bounds(inner), bounds(outer)
    if ours is None or theirs is None:
        return theirs is None or not isinstance(inner, _SURFACES)  # a density there is none over an interval
    (low, high), (lowest, highest) = (map(torch.as_tensor, ends) for ends in (ours, theirs))
    below, above = low < lowest, high > highest
    pairs = [(in_float64(a), in_float64(b)) for a, b in ((low, lowest), (high, highest))]
    same = [torch.isclose(a, b, rtol=1e-6, atol=1e-6).to(low.device) for a, b in pairs]
    return not bool((below & ~same[0]).any() or (above & ~same[1]).any())  # pi in float32 is more than pi


_SURFACES = (type(constraints.simplex), type(dist.constraints.sphere))
"""Sets of a lower dimension than the space they lie in: a density on them is not one over that space."""
