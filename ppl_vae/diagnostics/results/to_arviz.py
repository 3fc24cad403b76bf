"""Draws from q, predictions and diagnostics of each datum, as an ArviZ tree."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import traces
from ppl_vae.adaptive import refined_draws
from ppl_vae.arguments import Count, Seed, Whole
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.results.arviz_io import to_tree
from ppl_vae.diagnostics.results.datasets import attributes, of_draws, with_columns
from ppl_vae.draws import Draws, draws
from ppl_vae.evaluation.by_q import per_datum
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import FEWEST, psis
from ppl_vae.isolation import evaluating
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import check_units, log_volume
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split

__all__ = ["to_arviz"]


@verb
def to_arviz(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    num_samples: Count = 1000,
    num_predictive: Whole | None = None,
    refined: bool = False,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**29,
    progress: bool = True,
) -> Any:
    """The approximate posterior of each datum as an ArviZ tree: `InferenceData` (0.23) or `DataTree` (1.x).

    `posterior` and `sample_stats` (lp, log_q, log_weight, log_weight_psis) hold independent draws from q, not a Markov
    chain: their R-hat and ESS have no meaning, `attrs["draws"]` says so, and ``az.summary(tree, kind="stats")`` leaves
    them out. `posterior_predictive`, `prior`, `prior_predictive`, `observed_data` and `constant_data` (labels) are
    ArviZ's standard groups. `diagnostics` holds per datum `elbo`, `log_px` and its Monte Carlo standard error, `kl_gap`
    = log_px - elbo (the KL from q to the posterior, where pareto_k is low), `ess` and `pareto_k` (NaN for a discrete q,
    whose weights are not smoothed). Log densities are for x in its raw units, as in `evaluate`. Sites named like a
    dimension or with a slash are renamed; `attrs["renamed"]` of the group lists the changes.

    Latents that a mask leaves out are drawn from their prior given the others, which is what they are given x.

    There is no `log_likelihood` group, on purpose, so that `az.loo` does not run: with a latent per datum, `az.loo` of
    log p(x | z) is the harmonic mean estimator, with an error of several nats.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; the `index` of a `Split` becomes the coordinate `obs`.
    num_samples
        Draws from q per datum; at least 25.
    num_predictive
        Draws of the predictive groups and of the prior, 1 to `num_samples`; if `None`, 100 or `num_samples`, the
        smaller one.
    refined
        Draws of p(z | x) in the place of q's: resampled by Pareto-smoothed weights from a Student t fitted to each
        datum, as in `refine`; ``attrs["draws"]`` says so. `log_weight` is what they were resampled by, and
        `log_weight_psis` equal for all. `diagnostics` is of the draws before resampling, `elbo` and `kl_gap` too.
    max_bytes
        Largest size of the tree, all groups together.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        Save it with `.to_netcdf(path)`; pass `tree.sel(obs=i)` to ArviZ's plots.

    Raises
    ------
    ValueError
        If the tree would exceed `max_bytes`; for a point mass q or an improper prior, which have no posterior; for
        fewer than 25 samples, or `num_predictive` outside 1 to `num_samples`.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.
    """
    if num_samples < FEWEST:
        raise ValueError(f"to_arviz expects at least {FEWEST} samples, got {num_samples}; k-hat has no tail in fewer")
    num_predictive = min(100, num_samples) if num_predictive is None else num_predictive
    if not 1 <= num_predictive <= num_samples:
        raise ValueError(
            f"to_arviz expects num_predictive from 1 to the {num_samples} samples, got {num_predictive}; data are "
            "predicted from draws of q: give fewer, or more num_samples"
        )
    check_units(program, split := Split.of(x, *context, mask=mask))
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        volume = log_volume(program, split)
        parts: list[dict[str, dict[str, Tensor]]] = []
        with progress_bar("draws of q", len(split), shown=progress) as bar:
            settings: dict[str, Any] = {"num_predictive": num_predictive, "max_rows": max_rows}
            source = refined_draws if refined else draws
            for rows, drawn, *equal in source(program, split, num_samples, **settings):
                _check_densities(drawn)
                parts.append(_kept(drawn, volume[rows], *equal))
                if len(parts) == 1:
                    _check_size(parts[0], split, num_predictive, max_bytes)
                bar.update(rows.stop - rows.start)
        prior = _prior(program, split, num_predictive, drawn)
    attrs = {**_MADE_BY, "created_at": datetime.now(UTC).isoformat(), "base_measure": drawn.measure}
    attrs |= attributes(program, split, used, num_samples=num_samples) | (_REFINED if refined else {})
    datasets = with_columns({**_by_obs(parts, split), **prior, **_constant(split)}, program, split)
    return to_tree({name: dataset.assign_attrs(attrs) for name, dataset in datasets.items()})


_MADE_BY = {
    "draws": (
        "independent draws from q(z | x), in one chain that is no Markov chain: R-hat and ESS of chains mean "
        "nothing here; how good q is, say pareto_k, ess and kl_gap in the group diagnostics"
    ),
    "inference_library": "pyro-ppl",
    "inference_library_version": version("pyro-ppl"),
    "creation_library": "ppl_vae",
}

_REFINED = {
    "draws": (
        "independent draws of p(z | x), resampled by Pareto-smoothed weights from a Student t of each datum and, "
        "5 % of them, from the prior; in one chain that is no Markov chain: R-hat and ESS of chains mean nothing here; "
        "how good they are, say pareto_k and ess in the group diagnostics, which is of the draws before resampling"
    )
}


def _check_densities(drawn: Draws) -> None:
    if drawn.singular or drawn.improper or drawn.quantized:
        raise ValueError(
            "to_arviz expects a posterior and a prior with densities, got a point mass (Point), one code a "
            "datum (VectorQuantized) or an improper prior (Flat): an autoencoder has a reconstruction "
            "only; use another posterior and prior"
        )


def _kept(drawn: Draws, log_volume: Tensor, equal: Draws | None = None) -> dict[str, dict[str, Tensor]]:
    """Stored variables of some draws, by group, on the CPU; the data axis comes last before the event.

    Diagnostics are of the first draws, all else is of those of equal weight, where there are any.
    """
    diagnostics = per_datum(drawn, log_volume)
    drawn = equal or drawn
    log_w = drawn.log_weights - log_volume.to(drawn.log_likelihood)
    log_q = torch.stack(list(drawn.log_q.values())).sum(0)
    log_psis = log_w - log_w.logsumexp(0) if drawn.discrete_q or equal else psis(log_w, coarse=drawn.coarse)[0]
    if equal:
        log_psis = torch.full_like(log_psis, -math.log(len(log_psis)))
    groups = {
        "posterior": drawn.z,
        "sample_stats": {"lp": log_w + log_q, "log_q": log_q, "log_weight": log_w, "log_weight_psis": log_psis},
        "posterior_predictive": drawn.predicted,
        "observed_data": drawn.observed,
        "diagnostics": diagnostics,
    }
    return {
        group: {name: v.detach().cpu() for name, v in vs.items() if not drawn.is_factor(name)}
        for group, vs in groups.items()
    }


def _by_obs(parts: Sequence[Mapping[str, Mapping[str, Tensor]]], split: Split) -> dict[str, xr.Dataset]:
    """The groups with a data axis."""
    obs = {"obs": split.index.tolist()}
    datasets = {}
    for group, variables in parts[0].items():
        per_draw = group not in _PER_DATUM
        joined = {name: torch.cat([p[group][name] for p in parts], int(per_draw)) for name in variables}
        leading = ("chain", "draw", "obs") if per_draw else ("obs",)
        data = {name: (v.unsqueeze(0) if per_draw else v) for name, v in joined.items()}
        datasets[group] = of_draws(data, leading, obs, is_data=_is_data(group))
    for name, variable in datasets["diagnostics"].data_vars.items():
        variable.attrs["units"] = _UNITS.get(str(name), "nats")
    return datasets


def _prior(program: Modelled, split: Split, num: int, drawn: Draws) -> dict[str, xr.Dataset]:
    """Draws from the prior and the prior predictive; contexts and masks, if any, are those of the data in turn."""
    if factors := sorted(filter(drawn.is_factor, drawn.observed)):
        warnings.warn(
            f"to_arviz leaves out the prior and its predictions: the model weighs its draws by {', '.join(factors)} "
            "(pyro.factor), so that they are none of p(z)",
            stacklevel=2,
        )
        return {}
    where = find_plates(program, split)
    args, mask = arguments(program, split[torch.arange(num) % len(split)])
    trace = poutine.trace(poutine.uncondition(program.model)).get_trace(*args, **traces.model_kwargs(mask))
    values = {
        name: by_datum(site["value"][None], site, where).detach().cpu() for name, site in traces.latents(trace).items()
    }
    prior = {name: v for name, v in values.items() if name in drawn.z}
    predicted = {name: v for name, v in values.items() if name not in drawn.z}
    return {
        "prior": of_draws(prior, ("chain", "draw"), {}),
        "prior_predictive": of_draws(predicted, ("chain", "draw"), {}, is_data=True),
    }


def _known(split: Split) -> dict[str, Tensor]:
    """Data, labels and other constants."""
    constant = {f"context_{i}": c for i, c in enumerate(split.context)}
    constant |= {} if split.y is None else {"label": split.y}
    constant |= {} if split.mask is None else {"mask": split.mask}
    return {name: c.detach().cpu() for name, c in constant.items()}


def _constant(split: Split) -> dict[str, xr.Dataset]:
    known = _known(split)
    return {"constant_data": of_draws(known, ("obs",), {"obs": split.index.tolist()})} if known else {}


def _is_data(group: str) -> bool:
    return group in ("posterior_predictive", "observed_data")


def _check_size(part: Mapping[str, Mapping[str, Tensor]], split: Split, num_predictive: int, max_bytes: int) -> None:
    """Refuse a tree above `max_bytes`; a draw from the prior is as large as one from q for one datum."""
    rows = len(part["diagnostics"]["elbo"])
    per_obs = sum(t.nbytes for group in part.values() for t in group.values()) // rows
    per_obs += sum(t.nbytes for t in _known(split).values()) // len(split)
    likewise = (*part["posterior"].values(), *part["posterior_predictive"].values())
    prior = num_predictive * sum(t[0, 0].nbytes for t in likewise)
    if len(split) * per_obs + prior > max_bytes:
        raise ValueError(
            f"to_arviz expects a tree of at most {max_bytes / 2**20:.0f} MiB, got {len(split)} data of "
            f"{per_obs / 2**20:.2f} MiB each; give {max(1, (max_bytes - prior) // per_obs)} data or fewer, lower "
            f"num_samples or num_predictive ({prior / 2**20:.2f} MiB of draws from the prior), or raise max_bytes"
        )


_PER_DATUM = ("observed_data", "diagnostics")
_UNITS = {"ess": "draws", "pareto_k": "1"}
