"""The likelihood of data: the one that was chosen, or the usual one on their domain."""

from __future__ import annotations

from functools import partial
from typing import Any

from ppl_vae.domain import Domain
from ppl_vae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Heterogeneous,
    Likelihood,
    LogNormal,
    NegativeBinomial,
)
from ppl_vae.vae.levels import Known
from ppl_vae.vae.recipe import Described, Factory

__all__ = ["as_stored", "chosen", "of_domain"]

_USUAL: dict[str, type[Likelihood]] = {
    "binary": Bernoulli,
    "unit": ContinuousBernoulli,
    "real": Gaussian,
    "levels": DiscretizedLogistic,
    "counts": NegativeBinomial,
    "positive": LogNormal,
    "categories": Categorical,
}


def chosen(data: Described, likelihood: Factory | None) -> Factory:
    """The likelihood that was given, the data were prepared for, or is the usual one; with what a recipe is to say.

    Of `Heterogeneous` the names of the columns, of `Categorical` whether the levels have an order.
    """
    columns: Any = getattr(data, "columns", None)
    found = likelihood or getattr(data, "likelihood", None) or _usual(data.domain, bool(columns))
    _check_kind(found, data.domain)
    made_of, said = getattr(found, "func", found), getattr(found, "keywords", {})
    if made_of is Categorical and "categories" in data.domain.kinds:
        return partial(found, **{"ordered": False, **said})
    if made_of is not Heterogeneous or not columns:
        return found
    return partial(found, **{"names": [column.name for column in columns], **said})


def as_stored(likelihood: Factory) -> Factory:
    """The likelihood of a recipe: its encoder saw categories by their numbers where it does not say otherwise."""
    if getattr(likelihood, "func", likelihood) is not Categorical:
        return likelihood
    return partial(likelihood, **{"ordered": True, **getattr(likelihood, "keywords", {})})


def of_domain(domain: Domain) -> Known:
    """What a likelihood may ask for: the domain, and of levels their number and whether they have an order."""
    if not set(domain.kinds) <= {"binary", "levels", "categories"}:
        return {"domain": lambda: domain}
    ordered = "categories" not in domain.kinds
    return {"domain": lambda: domain, "levels": lambda: _levels(domain), "ordered": lambda: ordered}


def _levels(domain: Domain) -> Any:
    """Number of levels of x, or a tuple of those of its columns where they differ."""
    if (number := domain.num_columns) is None:
        return 2 if domain.kind == "binary" else domain.levels
    columns = [v if isinstance(v, tuple) else (v,) * number for v in (domain.kind, domain.levels)]
    found = tuple(2 if kind == "binary" else levels for kind, levels in zip(*columns, strict=True))
    return found[0] if len(set(found)) == 1 else found


def _usual(domain: Domain, framed: bool = False) -> type[Likelihood]:
    """The likelihood to take where none is chosen; levels of a column of a frame are grades, no grey levels.

    Raises
    ------
    ValueError
        For columns of several kinds, or kinds that no likelihood is the usual one of.
    """
    if len(domain.kinds) > 1 or isinstance(domain.levels, tuple) or domain.kind in ("categories", framed and "levels"):
        return Heterogeneous
    usual = _USUAL.get(domain.kinds[0])
    if usual is None:
        raise ValueError(
            f"build expects a likelihood of {domain.described} data, got none, and there is no usual one; give "
            "likelihood="
        )
    return usual


def _check_kind(likelihood: Factory, domain: Domain) -> None:
    kinds = getattr(getattr(likelihood, "func", likelihood), "kinds", None)
    if kinds is not None and not set(domain.kinds) <= set(kinds):
        name = getattr(likelihood, "func", likelihood).__name__
        raise ValueError(
            f"{name} expects data of kind {' or '.join(map(repr, kinds))}, got {', '.join(map(repr, domain.kinds))}; "
            f"convert them (data.suit({name})), or choose {_usual(domain).__name__}"
        )
