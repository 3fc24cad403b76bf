"""The fewest steps from the domain of some data to one of a likelihood."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ppl_vae.domain import Domain
from ppl_vae.factories import made_by, name_of

__all__ = ["steps_between", "way_to"]

_WAYS: dict[tuple[str, str], Callable[[Any, int], Any]] = {  # of `Data`, and a seed
    ("levels", "binary"): lambda data, seed: data.binarize(seed=seed),
    ("levels", "unit"): lambda data, seed: data.dequantize(seed=seed),
    ("levels", "counts"): lambda data, seed: data.as_counts(),
    ("levels", "real"): lambda data, seed: data.dequantize(seed=seed).standardize(seed=seed),
    ("unit", "binary"): lambda data, seed: data.binarize(seed=seed),
    ("unit", "real"): lambda data, seed: data.standardize(seed=seed),
}


def way_to(likelihood: Callable[..., Any], domain: Domain) -> Callable[[Any, int], Any]:
    """The steps that bring `Data` of a domain to one of the likelihood's, as a function of the data and a seed.

    Raises
    ------
    TypeError
        For a likelihood without `kinds`.
    ValueError
        If no steps lead from the domain of the data to one of the likelihood.
    """
    scores, name = made_by(likelihood), name_of(likelihood)
    kinds = getattr(scores, "kinds", None)  # likelihoods are of a higher layer
    if not kinds or not callable(likelihood) or not isinstance(scores, type):
        raise TypeError(
            f"suit expects a likelihood class with `kinds`, got {name} without; give the class, or a "
            "functools.partial of it, and let the class say kinds = ('real',) or the like"
        )
    if set(domain.kinds) <= set(kinds):
        return lambda data, seed: data
    ways = [] if isinstance(domain.kind, tuple) else [_WAYS.get((domain.kind, kind)) for kind in kinds]
    way = next(filter(None, ways), None)
    if way is None:
        raise ValueError(
            f"{name} scores {' or '.join(kinds)} data, got {', '.join(domain.kinds)}; choose a likelihood of "
            f"{', '.join(domain.kinds)} data, or give the raw values with their own domain"
        )
    return way


def steps_between(data: Any, made: Any) -> str:
    """The steps from some `Data` to others derived from them, as calls."""
    known = len(data.provenance.get("transforms", []))
    return ", ".join(_call(made, record) for record in made.provenance.get("transforms", [])[known:])


def _call(data: Any, record: dict[str, Any]) -> str:
    known = inspect.signature(getattr(data, record["transform"])).parameters
    return f"{record['transform']}({', '.join(f'{k}={v!r}' for k, v in record.items() if k in known)})"
