"""Calibration on real data: ranks of reference draws from the posterior among draws from q."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Results, Subject
from ppl_vae.diagnostics.guide.compare_posteriors import REFERENCES, reference
from ppl_vae.diagnostics.guide.coverage import coverage
from ppl_vae.diagnostics.guide.ranks import by_quantity, pit
from ppl_vae.diagnostics.guide.sbc import coverage_panel, narrow, shares
from ppl_vae.diagnostics.results import group, groups, to_tree, with_units
from ppl_vae.isolation import seed_in_use
from ppl_vae.libraries import stats, xr

__all__ = ["POSTERIOR_PIT", "posterior_pit"]


@checked
def posterior_pit(guide_tree: Any, reference_tree: Any, *, num_draws: Count = 10, seed: Seed | None = None) -> Any:
    """F_q(z) of draws z from the posterior of real data, by their rank among draws from q; uniform where q is exact.

    The analogue of `simulation_based_calibration` for real data. Only as good as the reference: data whose chains
    disagree are left out. These are the difficult ones, so the result is optimistic about q.

    Parameters
    ----------
    guide_tree
        Draws from q, from `to_arviz`.
    reference_tree
        Draws from the posterior of the same data, from `hmc`. Data with `reliable` false in its `diagnostics` are left
        out; without that group all are used.
    num_draws
        Reference draws per datum, evenly spaced over all chains; the same number for every datum.
    seed
        Seed of the random numbers that make ranks continuous; if `None`, fresh entropy, and it is recorded.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `posterior_pit`: by site, values in (0, 1), (chain: one, draw: num_draws, obs, ...); see `coverage`. Those of
        one datum share draws of q and are dependent. `left_out`, in its attributes, counts the data left out.
        `diagnostics`: by `quantity` the `p_value` of a Kolmogorov-Smirnov test that the values of the last draw of each
        datum are uniform, and `p_value_overall`, by Bonferroni. With enough data any deviation, however small, is
        significant.

    Raises
    ------
    ValueError
        For trees of different data or sites, where no datum is reliable, and for more draws than the reference has.

    References
    ----------
    Talts et al. 2018, arXiv:1804.06788; Yao et al. 2018, arXiv:1802.02538.

    Examples
    --------
    >>> from ppl_vae.diagnostics import coverage
    >>> rng = np.random.default_rng(0)
    >>> def tree(scale):
    ...     z = scale * rng.standard_normal((1, 500, 200, 1))
    ...     dims = ("chain", "draw", "obs", "latent")
    ...     return to_tree({"posterior": xr.Dataset({"z": (dims, z)}, {"obs": range(200)})})
    >>> coverage(posterior_pit(tree(1.0), tree(1.5)))["coverage"].values.round(1)  # q is too narrow
    array([[0.3],
           [0.7]])
    """
    q, reference = group(guide_tree, "posterior"), group(reference_tree, "posterior")
    _check_alike(q, reference)
    obs = _reliable(reference_tree, reference)
    total = reference.sizes["chain"] * reference.sizes["draw"]
    if not 1 <= num_draws <= total:
        raise ValueError(
            f"posterior_pit expects num_draws from 1 to the {total} draws of the reference, got {num_draws}; "
            "give fewer, or a longer reference"
        )
    chosen = ((np.arange(num_draws) + 0.5) * total / num_draws).astype(int)
    variables = {}
    seed = seed_in_use(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name, variable in q.data_vars.items():
            of_q, of_p = _draws(variable.sel(obs=obs)), _draws(reference[name].sel(obs=obs))[chosen]
            ranks = torch.stack([pit(z, of_q) for z in of_p])
            variables[name] = (_ordered(variable).dims, ranks[None].numpy())
    attrs = {key: q.attrs[key] for key in ("model", "data") if key in q.attrs}
    attrs |= {
        "seed": seed,
        "num_draws": num_draws,
        "left_out": q.sizes["obs"] - len(obs),
        "cannot_see": "the data that were left out, and modes of the posterior that the reference never visits",
    }
    coords = {name: c for name, c in q.sel(obs=obs).coords.items() if name not in ("chain", "draw")}
    values = xr.Dataset(variables, coords, attrs)
    return to_tree({"posterior_pit": values, "diagnostics": _verdict(values)})


def _verdict(values: xr.Dataset) -> xr.Dataset:
    """Tests of uniformity, from one draw per datum: several draws of a datum are dependent."""
    one = by_quantity(values.isel(chain=0, draw=-1)).transpose("quantity", "obs")
    p = np.array([stats.kstest(v, "uniform").pvalue for v in one.values])
    return with_units(
        {"p_value": (("quantity",), p, "1"), "p_value_overall": ((), min(1.0, len(p) * p.min()), "1")},
        {"quantity": one["quantity"].values},
        **values.attrs,
    )


def _ordered(variable: xr.DataArray) -> xr.DataArray:
    return variable.transpose("chain", "draw", "obs", ...)


def _draws(variable: xr.DataArray) -> Tensor:
    """All draws of a site, (draws, obs, ...)."""
    return torch.from_numpy(_ordered(variable).values).flatten(0, 1)


def _check_alike(q: xr.Dataset, reference: xr.Dataset) -> None:
    of_q, of_p = ({str(name): _ordered(v).shape[3:] for name, v in d.data_vars.items()} for d in (q, reference))
    if of_q != of_p:
        raise ValueError(
            f"posterior_pit expects draws of the same sites, got {of_q} from q and {of_p} from the reference; make "
            "both trees of one model"
        )
    if q.attrs.get("data") != reference.attrs.get("data") or set(q["obs"].values) != set(reference["obs"].values):
        raise ValueError(
            f"posterior_pit expects draws for the same data, got {q.sizes['obs']} data from q and "
            f"{reference.sizes['obs']} from the reference that are not the same; give to_arviz and hmc the same data"
        )


def _reliable(tree: Any, reference: xr.Dataset) -> np.ndarray:
    """`obs` of the data whose reference is reliable."""
    obs: np.ndarray = reference["obs"].values
    verdict = group(tree, "diagnostics") if "diagnostics" in groups(tree) else {}
    if "reliable" not in verdict:
        return obs
    reliable = verdict["reliable"].sel(obs=obs).values.astype(bool)
    if not reliable.any():
        raise ValueError(
            f"posterior_pit expects reliable reference draws for some data, got none of {len(obs)}; run hmc for longer"
        )
    chosen: np.ndarray = obs[reliable]
    return chosen


def _figures(_: Subject, results: Results) -> Iterator[Figure]:
    yield Figure("coverage_real", [[coverage_panel(coverage(results["posterior_pit"]))]])


POSTERIOR_PIT = Diagnostic(
    name="posterior_pit",
    question="Do intervals of q hold draws of the posterior?",
    answers="`posterior_pit`, `coverage`",
    reading="How often central intervals of q hold draws of HMC, or of a grid",
    run=lambda subject, results: posterior_pit(subject.tree, reference(results), seed=subject.options["seed"]),
    verdict=lambda _, results: [shares(coverage(results["posterior_pit"]))],
    figures=_figures,
    needs=REFERENCES,
    full=True,
    against=lambda results: narrow(coverage(results["posterior_pit"]), "real"),
)
