"""The likelihood of data: the one that was given, or the usual one on their domain."""

from __future__ import annotations

from functools import partial
from typing import Any

from ppl_vae.domain import Domain
from ppl_vae.factories import Factory, made_by, name_of, settings_of
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
from ppl_vae.likelihoods.likelihood import kinds_of
from ppl_vae.vae.data_spec import DataSpec
from ppl_vae.vae.levels import Known

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


def chosen(data: DataSpec, likelihood: Factory | None) -> Factory:
    """The likelihood that was given, else the one the data were prepared for, else the usual one.

    With settings that a recipe records: for `Heterogeneous` the names of the columns, for `Categorical` whether the
    levels have an order.
    """
    found = likelihood or data.likelihood or _usual(data.domain, data.columns is not None)
    _check_kind(found, data.domain)
    made_of, said = made_by(found), settings_of(found)
    if made_of is Categorical and "categories" in data.domain.kinds:
        return partial(found, **{"ordered": False, **said})
    if made_of is not Heterogeneous or data.columns is None:
        return found
    return partial(found, **{"names": list(data.columns.names), **said})


def as_stored(likelihood: Factory) -> Factory:
    """The likelihood of a recipe. A `Categorical` of earlier versions has levels with an order, but does not say so."""
    if made_by(likelihood) is not Categorical:
        return likelihood
    return partial(likelihood, **{"ordered": True, **settings_of(likelihood)})


def of_domain(domain: Domain) -> Known:
    """Arguments that a likelihood may name: the domain; for levels, their number and whether they have an order."""
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
    """The likelihood if none is given; levels in a column of a frame are grades, not grey levels.

    Raises
    ------
    ValueError
        For a kind of data without a usual likelihood.
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
    kinds = kinds_of(likelihood)
    if kinds and not set(domain.kinds) <= set(kinds):
        name = name_of(likelihood)
        raise ValueError(
            f"{name} expects data of kind {' or '.join(map(repr, kinds))}, got {', '.join(map(repr, domain.kinds))}; "
            f"convert them (data.suit({name})), or choose {_usual(domain).__name__}"
        )
