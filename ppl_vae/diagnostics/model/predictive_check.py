"""Predictive checks: statistics of replicated data against those of the observed data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed, Whole
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Panel, Results, Subject
from ppl_vae.diagnostics.model.replicates import Realized, Replicates, from_guide, from_prior
from ppl_vae.diagnostics.model.statistics import Measure, Statistic
from ppl_vae.diagnostics.results import attributes, group, of_draws, to_tree, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import plural
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.rows import dense
from ppl_vae.split import Split

__all__ = ["PREDICTIVE_CHECK", "PREDICTIVE_CHECK_DATUM", "posterior_predictive_check"]

Level = Literal["population", "datum"]
Part = TypeVar("Part", bound=Replicates)
REALIZED = "-log p(x | z)"
SEE = "see coordinate units"
MOST_PANELS = 8


@verb
def posterior_predictive_check(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    level: Level = "population",
    statistics: Mapping[str, Statistic] | None = None,
    num_replicates: Count = 100,
    num_kept: Whole = 4,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    max_bytes: Whole = 2**28,
    progress: bool = True,
) -> Any:
    """Predictive p-values of statistics T(x) under replicates x' of the data.

    ``"population"`` checks the data set: x' ~ p(z) p(x | z), replicated sets as large as the data, with their contexts
    and masks; the mean and standard deviation over the data of each statistic are compared. It tests prior and
    likelihood and does not use q. A p-value near 0 or 1 is a misfit.

    ``"datum"`` checks each datum: z ~ q(z | x), x' ~ p(x | z). It also compares the realized discrepancy
    -log p(x | z) with -log p(x' | z). The datum is used twice, to infer z and to be checked: p-values concentrate
    around 1/2 under a correct model. Use them for exploration, not as tests; a misfit may be the model's or q's.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. The model must observe x at a single site. Statistics are in the units of the raw data where
        the `Split` knows them. Elements that `mask` leaves out of x are left out of its replicates. `max_rows` counts
        replicated data; at least R are made at once.
    level
        ``"population"`` or ``"datum"``.
    statistics
        Functions by name, each of data (n, *x_shape) and their mask, to (n,), NaN where undefined; if `None`, those of
        `diagnostics.model.statistics` for images, counts or tables, of which these are the columns, each by itself,
        where they differ in kind or units.
    num_replicates
        Replicates R of the data set, or of each datum; p-values are multiples of 1 / (2 R + 2).
    num_kept
        Number of replicates stored in the tree, for plots: at most R and what fits into `max_bytes`.
    max_bytes
        Memory for the stored replicates.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        Group `predictive_check`: `observed` and `p_value`, the share of replicates with a statistic above the observed
        one, ties counted half; `p_value_mcse`, its Monte Carlo standard error; by statistic and moment,
        (statistic, moment), or by datum, (statistic, obs). For the population, `replicated` is
        (chain, draw, statistic, moment); for each datum, `replicated_mean` and `replicated_sd` are (statistic, obs),
        and `observed` of a realized discrepancy is the mean over z. The coordinate `units` has the unit of each
        statistic. `prior_predictive` or `posterior_predictive` and `observed_data` hold x for plots.

    Raises
    ------
    ValueError
        For another level; for no replicates or rows; for level "population" with an improper prior (Flat), which
        cannot be sampled; for a model that does not observe x, unchanged, at a single site; for statistics that do not
        return one number per datum; for whatever `session.diagnosing` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Gelman, Meng & Stern 1996, Statistica Sinica 6 (realized discrepancies); Gelman 2013, doi:10.1214/13-EJS854 (why
    posterior predictive p-values are not uniform).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> tree = posterior_predictive_check(build(digits, latent_dim=2, seed=0), digits.test, seed=0)
    >>> float(tree["predictive_check"]["p_value"].sel(statistic="edges", moment="mean")) > 0.99  # untrained: all noise
    True
    """
    kept: list[Tensor] = []
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        measure = Measure(split, statistics)
        num_kept = max(0, min(num_kept, num_replicates, max_bytes // split.x.nbytes))
        call = (program, split, num_replicates, max_rows)
        with progress_bar("predictive check", len(split), shown=progress) as bar:
            if level == "population":
                result = _population(measure, _watched(from_prior(*call), bar, kept, num_kept))
            else:
                result = _each_datum(measure, _watched(from_guide(*call), bar, kept, num_kept))
    attrs = attributes(program, split, used, level=level, num_replicates=num_replicates)
    datasets = {"predictive_check": result, **_pictures(level, split, torch.cat(kept, 1))}
    return to_tree({name: dataset.assign_attrs(attrs) for name, dataset in datasets.items()})


def _moments(values: Tensor, dim: int) -> Tensor:
    """Count, mean and sum of squared deviations, NaN left out; stacked along the first axis."""
    known = ~values.isnan()
    count = known.sum(dim)
    mean = values.nanmean(dim)
    about = (values - mean.unsqueeze(dim)).square().nansum(dim)
    return torch.stack([in_float64(count), mean, about])


def _sd(about: Tensor, count: Tensor) -> Tensor:
    return torch.where(count > 1, about / (count - 1), math.nan).sqrt()


def _population(measure: Measure, parts: Iterator[Replicates]) -> xr.Dataset:
    """Mean and standard deviation over all data, pooled from batches: first the observed, then each replicate."""
    pieces = [
        _moments(torch.cat([measure.of_data(p.rows, p.x.device), measure(p.x, p.rows)], 1), -1).cpu() for p in parts
    ]
    count, mean, about = torch.stack(pieces, 1)  # (pieces, statistics, 1 + R)
    number, mean = count.sum(0), mean.nan_to_num()
    overall = (count * mean).sum(0) / number
    about = (about + count * (mean - overall).square()).sum(0)
    moments = torch.stack([overall, _sd(about, number)], 1)  # (statistics, 2, 1 + R)
    observed, replicated = moments[..., :1], moments[..., 1:]
    p, mcse = _p_value(observed, replicated)
    dims = ("statistic", "moment")
    return with_units(
        {
            "observed": (dims, observed[..., 0], SEE),
            "replicated": (("chain", "draw", *dims), replicated.movedim(-1, 0)[None], SEE),
            "p_value": (dims, p, "1"),
            "p_value_mcse": (dims, mcse, "1"),
        },
        {"moment": ["mean", "sd"], **_statistics(measure.units)},
        cannot_see="what the statistics do not look at; and of q nothing: z is drawn from the prior",
    )


def _each_datum(measure: Measure, parts: Iterator[Realized]) -> xr.Dataset:
    pieces = []
    for part in parts:
        observed = torch.cat(
            [measure.of_data(part.rows, part.x.device).expand(-1, len(part.x), -1), part.of_data[None]]
        )
        replicated = torch.cat([measure(part.x, part.rows), part.of_replicates[None]])  # (statistics, R, n)
        count, mean, about = _moments(replicated, 1)
        p, mcse = _p_value(observed.movedim(1, -1), replicated.movedim(1, -1))
        pieces.append(torch.stack([observed.mean(1), mean, _sd(about, count), p, mcse]).cpu())
    names = ("observed", "replicated_mean", "replicated_sd", "p_value", "p_value_mcse")
    units = dict.fromkeys(names, SEE) | dict.fromkeys(names[3:], "1")
    values = zip(names, torch.cat(pieces, -1), strict=True)
    return with_units(
        {name: (("statistic", "obs"), value, units[name]) for name, value in values},
        {"obs": measure.split.index.tolist(), **_statistics({**measure.units, REALIZED: "nats"})},
        cannot_see="whether q or the model is at fault; and p-values crowd around 1/2 even for a right model, since "
        "each datum is used twice, to find z and to be judged",
    )


def _watched(parts: Iterator[Part], bar: Any, kept: list[Tensor], num_kept: int) -> Iterator[Part]:
    """The same parts, with a progress bar; stores the first replicates."""
    for part in parts:
        kept.append(part.x[:num_kept].cpu())
        yield part
        bar.update(part.x.shape[1])


def _pictures(level: Level, split: Split, made: Tensor) -> dict[str, xr.Dataset]:
    """Data and the stored replicates, (R', n, *x_shape), by group."""
    if not len(made):
        return {}
    obs = {"obs": split.index.tolist()}
    group = "prior_predictive" if level == "population" else "posterior_predictive"
    return {
        group: of_draws({"x": made[None]}, ("chain", "draw", "obs"), obs, is_data=True),
        "observed_data": of_draws({"x": dense(split.x).masked_fill(~split.observed, 0)}, ("obs",), obs, is_data=True),
    }


def _p_value(observed: Tensor, replicated: Tensor) -> tuple[Tensor, Tensor]:
    """p-value of the observed among the replicates, ties counted half, and its standard error; over the last axis."""
    tied = torch.isclose(replicated, observed, rtol=1e-9, atol=1e-12)  # sums in another order differ by rounding
    above = (replicated > observed) & ~tied
    number = (~replicated.isnan()).sum(-1)
    p = (in_float64(above.sum(-1)) + (in_float64(tied.sum(-1)) + 1) / 2) / (number + 1)
    unknown = observed.isnan().any(-1) | (number == 0)
    p = torch.where(unknown, math.nan, p)
    return p, (p * (1 - p) / number).sqrt()


def _statistics(units: Mapping[str, str]) -> dict[str, Any]:
    """Coordinates of the dimension `statistic`."""
    return {"statistic": list(units), "units": ("statistic", list(units.values()))}


def _told(_: Subject, results: Results) -> list[str]:
    found = group(results["predictive_check"], "predictive_check")
    p = found["p_value"].stack(what=("statistic", "moment")).dropna("what")
    level = 0.05 / max(1, p.size)  # of all statistics together
    odd = [
        f"{m} of {s} {'above' if v < 0.5 else 'below'} its replicates (p = {float(v):.3g})"
        for (s, m), v in zip(p["what"].values, p.values, strict=True)
        if 2 * min(v, 1 - v) <= level
    ]
    if not odd:
        return [f"No sign that it does not, in {plural(p.size, 'statistic')} of the data set."]
    return [f"No: samples differ from the data in {len(odd)} of {plural(p.size, 'statistic')}: {'; '.join(odd)}."]


def _told_of_each(_: Subject, results: Results) -> list[str]:
    found = group(results["predictive_check_datum"], "predictive_check")
    shares = {
        str(s): float(np.mean(abs(found["p_value"].sel(statistic=s) - 0.5) > 0.49)) for s in found["statistic"].values
    }
    worst = max(shares, key=lambda s: shares[s])
    crowd = "p-values crowd around 1/2 here, since each datum has been seen, so even a few per cent are a misfit."
    if shares[worst] == 0:
        return [f"No statistic of any datum lies beyond its replicates (p < 0.01 or > 0.99). {crowd}"]
    return [f"{worst} fits worst: it lies beyond its replicates (p < 0.01 or > 0.99) for {shares[worst]:.0%}. {crowd}"]


def _figures(_: Subject, results: Results) -> Iterator[Figure]:
    """One row of panels for the mean over the data of each statistic, one for its standard deviation.

    Of more statistics than there is room for, those of a table with many columns, the ones that fit worst.
    """
    found = group(results["predictive_check"], "predictive_check")
    if found.sizes["statistic"] > MOST_PANELS:
        off = abs(found["p_value"] - 0.5).max("moment").fillna(0)
        worst = np.sort(np.argsort(-off.values, kind="stable")[:MOST_PANELS])
        found = found.isel(statistic=worst)
    rows = [[_panel(found, s, m) for s in found["statistic"].values] for m in found["moment"].values]
    yield Figure("predictive_check", rows, (3.6, 3))


def _panel(found: xr.Dataset, statistic: str, moment: str) -> Panel:
    one = found.sel(statistic=statistic, moment=moment)
    unit = one["units"].item()
    label = f"{moment} of {statistic}" + ("" if unit == "1" else f" ({unit})")
    args = float(one["observed"]), one["replicated"].values.ravel()
    return Panel("predictive_check", args, {"label": label, "p_value": float(one["p_value"])})


PREDICTIVE_CHECK = Diagnostic(
    name="predictive_check",
    question="Does the model generate data like the data?",
    answers="`posterior_predictive_check`",
    reading="p-values near 0 or 1 are a misfit of prior and likelihood",
    run=lambda subject, _: posterior_predictive_check(
        subject.program, subject.data, num_replicates=200, **subject.options
    ),
    verdict=_told,
    figures=_figures,
)
PREDICTIVE_CHECK_DATUM = Diagnostic(
    name="predictive_check_datum",
    question="Does it fit each datum?",
    answers='`posterior_predictive_check(level="datum")`',
    reading="p-values crowd around 1/2, since each datum has been seen: even a few per cent near 0 or 1 are a misfit",
    run=lambda subject, _: posterior_predictive_check(
        subject.program, subject.chosen, level="datum", **subject.options
    ),
    verdict=_told_of_each,
    full=True,
)
