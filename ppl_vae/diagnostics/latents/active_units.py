"""Active units and directions of the latent space, and units collapsed onto the prior."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, NonNegative, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Results, Subject, one_panel
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import encoded
from ppl_vae.evaluation.units import kl_of_data
from ppl_vae.evaluation.wording import plural
from ppl_vae.importance import FEWEST
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["ACTIVE_UNITS", "active_units"]


@verb
def active_units(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    threshold: NonNegative = 0.01,
    epsilon: NonNegative = 0.01,
    delta: NonNegative = 0.01,
    num_samples: Count = 1000,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """Variance over the data of each unit's posterior mean, Var_x(E_q[z_j | x]); the count depends on the axes.

    A rotation of z that the decoder inverts can make every unit active, and a q with full covariance is free to learn
    one. The eigenvalues of the covariance of the posterior means are invariant to it. Means are estimated from draws;
    their Monte Carlo variance is subtracted. Where a mask leaves a unit out, q has its prior given the other latents
    and the KL is 0.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; x has two or more data. `max_rows` bounds the memory only down to all draws of one datum.
    threshold
        Variance above which a unit or a direction is active.
    epsilon, delta
        A unit has collapsed if its KL is below `epsilon` nats for a share of the data of at least 1 - `delta`.
    num_samples
        Draws per datum, 25 or more; the decoder is not run.

    Returns
    -------
    xarray.Dataset
        By unit, (latent,): `variance` in squared units of z, and `variance_se` over the data; `active`; `kl` in nats,
        its `attrs["estimator"]` naming one of the two estimators of `kl_per_unit`; `kl_se` over the data,
        `share_below`, the share of the data with a KL below `epsilon`, and `collapsed`, all NaN where the KL per datum
        is not known. Below the top of a hierarchy the KL is that given one draw of the level above: a unit whose q is
        its prior is collapsed, and active where the mean of that prior varies with the level above. By direction,
        (component,): `eigenvalue`, largest first, and `eigenvalue_se`. `num_active_units` and `num_active_directions`;
        `attrs["collapsed"]` names the collapsed units. With several sites all variables and dimensions exist for each,
        with the suffix `_<site>`.

    Raises
    ------
    ValueError
        For fewer than 25 draws or two data; for a point-mass posterior, an improper prior or discrete latents, which
        have no KL per unit; for sites outside the plate over the data.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519, section 5.2 (active units); Lucas et al. 2019, arXiv:1911.02469
    ((epsilon, delta)-collapse).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> found = active_units(build(digits, latent_dim=3), digits.test, num_samples=50, seed=0)
    >>> found.variance.shape, found.eigenvalue.shape
    ((3,), (3,))
    """
    _check_draws(num_samples)
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        if len(split) < 2:
            raise ValueError("active_units expects two data or more, got one; a variance over the data needs them")
        kl = kl_of_data("active_units", program, split)
        means, noise = _means(program, split, num_samples, max_rows, progress)
    by_site = {
        site: _spread(means[site], noise[site], threshold) | _collapse(values, what, epsilon, delta)
        for site, (values, what) in kl.items()
    }
    ends = {site: f"_{site}" if len(kl) > 1 else "" for site in kl}
    collapsed = [f"{site}[{j}]" for site in kl for j in np.flatnonzero(by_site[site]["collapsed"][1] == 1)]
    dataset = with_units(
        _named(by_site, ends),
        {},
        cannot_see=_CANNOT_SEE,
        collapsed=", ".join(collapsed) or ("none" if all(what == "KL" for _, what in kl.values()) else "not known"),
        threshold=threshold,
        epsilon=epsilon,
        delta=delta,
        **attributes(program, split, used, num_samples=num_samples),
    )
    for site, end in ends.items():
        dataset[f"kl{end}"].attrs["estimator"] = kl[site][1]
    return dataset


def _check_draws(num_samples: int) -> None:
    if num_samples < FEWEST:
        raise ValueError(
            f"active_units expects {FEWEST} draws or more, got num_samples={num_samples}; give more: the noise of few "
            "draws is as large as the variance to be estimated"
        )


_Variables = dict[str, tuple[tuple[str, ...], Any, str]]


def _named(by_site: dict[str, _Variables], ends: dict[str, str]) -> _Variables:
    """The variables of every site, the site's suffix appended to names and dimensions."""
    return {
        f"{name}{end}": (tuple(f"{dim}{end}" for dim in dims), values, units)
        for site, end in ends.items()
        for name, (dims, values, units) in by_site[site].items()
    }


def _means(
    program: Modelled, split: Split, num_samples: int, max_rows: int, progress: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By site, the mean over draws for each datum, (n, units), and the mean covariance of its error, (units, units)."""
    means: dict[str, list[Tensor]] = {}
    noise: dict[str, Tensor] = {}
    with progress_bar("active units", len(split), shown=progress) as bar:
        for rows, draws in encoded(program, split, num_samples, max_rows):
            for name, z in draws.items():
                mean = z.mean(0)
                away = (z - mean).flatten(0, 1)
                means.setdefault(name, []).append(mean.cpu())
                noise[name] = noise.get(name, 0) + (away.T @ away).cpu()
            bar.update(rows.stop - rows.start)
    degrees = num_samples * (num_samples - 1) * len(split)  # of a mean of draws; over all data
    return {name: torch.cat(parts) for name, parts in means.items()}, {n: v / degrees for n, v in noise.items()}


def _spread(means: Tensor, noise: Tensor, threshold: float) -> _Variables:
    """Variances of the posterior means over the data, along the axes and along their principal directions."""
    away = means - means.mean(0)
    variance, variance_se = _along(torch.eye(len(noise), dtype=noise.dtype), away, noise)
    directions = torch.linalg.eigh(away.T @ away / len(away) - noise).eigenvectors.flip(-1)
    eigenvalue, eigenvalue_se = _along(directions, away, noise)
    squared = "squared units of z"
    return {
        "variance": (("latent",), variance, squared),
        "variance_se": (("latent",), variance_se, squared),
        "active": (("latent",), variance > threshold, "1"),
        "num_active_units": ((), int((variance > threshold).sum()), "1"),
        "eigenvalue": (("component",), eigenvalue, squared),
        "eigenvalue_se": (("component",), eigenvalue_se, squared),
        "num_active_directions": ((), int((eigenvalue > threshold).sum()), "1"),
    }


def _along(directions: Tensor, away: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Variance along directions, minus the Monte Carlo variance of the means, and its standard error over the data."""
    squares = (away @ directions).square()
    variance = squares.mean(0) - (directions * (noise @ directions)).sum(0)
    return variance.clamp_min(0), squares.std(0) / len(away) ** 0.5


def _collapse(values: np.ndarray, what: str, epsilon: float, delta: float) -> _Variables:
    """KL per unit, and where it is known per datum, whether it is below epsilon for nearly all data."""
    each_datum = what == "KL"
    unknown = np.full(values.shape[-1], math.nan)
    below = (values < epsilon).mean(0) if each_datum else unknown
    with np.errstate(invalid="ignore"):  # an infinite KL, of a q without a width, has no error
        error = values.std(0, ddof=1) / len(values) ** 0.5 if each_datum else unknown
    return {
        "kl": (("latent",), values.mean(0) if each_datum else values, "nats"),
        "kl_se": (("latent",), error, "nats"),
        "share_below": (("latent",), below, "1"),
        "collapsed": (("latent",), np.where(np.isnan(below), math.nan, below >= 1 - delta), "1"),
    }


_CANNOT_SEE = (
    "Whether the decoder uses what the units carry, or whether q(z | x) is close to p(z | x): a unit may carry "
    "something in its variance alone."
)


def _told(_: Subject, results: Results) -> list[str]:
    found = results["active_units"]
    return [" ".join(_activity(found, site) for site in _sites(found))]


def _sites(found: xr.Dataset) -> list[str]:
    """Suffix of a site's variables by site; empty if there is one site."""
    return [str(n).removeprefix("num_active_units") for n in found.data_vars if str(n).startswith("num_active_units")]


def _activity(found: xr.Dataset, site: str) -> str:
    """Of one site: how many units are active, how many directions, and which units have collapsed."""
    variance, collapsed = found[f"variance{site}"].values, found[f"collapsed{site}"].values
    active, across = int(found[f"num_active_units{site}"]), int(found[f"num_active_directions{site}"])
    of = f" of {site[1:]}" if site else ""
    verb = "is" if active == 1 else "are"
    said = f"{active} of {plural(variance.size, 'unit')}{of} {verb} active, and {plural(across, 'direction')}"
    said += " whatever the axes"
    said += ", which no axis shows alone" if across > active else ""
    if np.isnan(collapsed).all():
        return f"{said}. Which have collapsed is not known: the KL of a datum cannot be split by unit here."
    units = np.flatnonzero(collapsed == 1)
    names = [f"{site[1:]}[{j}]" for j in units] if site else [found.attrs["collapsed"]]
    is_active = found[f"active{site}"].values
    rest = [j for j in range(variance.size) if not is_active[j] and collapsed[j] != 1]
    their = "its" if len(rest) == 1 else "their"
    quiet = f"; {plural(len(rest), 'unit')} neither active nor collapsed may speak by {their} variance alone"
    both = _both(int(is_active[units].sum()), found.attrs["epsilon"])
    return f"{said}. Collapsed: {', '.join(names) or 'none'}{both}{quiet if rest else ''}."


def _both(num: int, epsilon: float) -> str:
    """How a unit can be active and collapsed, as below a level that its prior follows; empty where none is."""
    if num == 0:
        return ""
    means = "is active, too: its mean varies, but its" if num == 1 else "are active, too: their means vary, but their"
    return f"; {num} of these {means} KL to the prior is below {epsilon:g} nats"


def _figures(_: Subject, results: Results) -> Iterator[Figure]:
    found = results["active_units"]
    for site in _sites(found):
        values = found[f"variance{site}"].values, found[f"eigenvalue{site}"].values
        yield one_panel(f"active_units{site}", "unit_activity", *values, threshold=found.attrs["threshold"])


ACTIVE_UNITS = Diagnostic(
    name="active_units",
    question="Is the latent space used?",
    answers="`active_units`",
    reading="Units and, whatever the axes, directions whose posterior mean varies; collapsed units by name",
    run=lambda subject, _: active_units(subject.program, subject.data, **subject.options),
    verdict=_told,
    figures=_figures,
)
