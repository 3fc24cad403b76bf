"""q(z | x) against draws from the true posterior, by datum and by unit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ppl_vae.arguments import Count, checked
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Panel, Results, Subject
from ppl_vae.diagnostics.guide.differences import BY_DATUM, BY_UNIT, differences
from ppl_vae.diagnostics.results import group, groups, with_units
from ppl_vae.evaluation.wording import spread
from ppl_vae.libraries import xr
from ppl_vae.memory import keep_freed

__all__ = ["COMPARE_POSTERIORS", "REFERENCES", "compare_posteriors", "panel", "reference"]


@checked
def compare_posteriors(guide_tree: Any, reference_tree: Any, *, max_draws: Count = 500) -> xr.Dataset:
    """Differences between q(z | x) and a reference posterior, by datum; valid only where the reference is.

    Data whose reference chains disagree (R-hat above 1.05) are flagged and NaN in every comparison.

    Parameters
    ----------
    guide_tree
        Draws from q: what `to_arviz` returns.
    reference_tree
        Draws from the posterior of the same data: what `hmc` or `quadrature_posterior` returns. A tree without
        `diagnostics` is taken to be reliable.
    max_draws
        Largest number of draws of each for `energy_distance` and `rhat`, evenly spaced; the cost of the former is
        quadratic in it.

    Returns
    -------
    xarray.Dataset
        For the `obs` that both have and each latent `unit`, named ``site[i]``: `mean_error`, of q's mean, and
        `wasserstein` (1-Wasserstein distance), in standard deviations of the reference; `sd_ratio`, q's to the
        reference's; `ks`, the Kolmogorov-Smirnov distance; `rhat` of q and the reference as two chains, where 1.01 is
        little and 1.1 is much. By `obs`: `energy_distance` = 2 E|q - r| - E|q - q'| - E|r - r'| over all units, in
        standard deviations of the reference, unbiased, so that it may be slightly below 0; `reference_rhat` (NaN where
        it is not known) and `reliable`. The attribute `num_unreliable` counts the data left out. Units that are
        constant in the reference are NaN.

        Finite draws differ even where q is exact. `mean_error_mcse` and `sd_ratio_mcse` are Monte Carlo standard
        errors. Under an exact q, `ks` has the median `ks_null`, `wasserstein` the mean `wasserstein_null`, and
        `energy_distance` the mean 0 and the standard deviation `energy_distance_null_sd`. All assume that q's draws are
        independent and count the reference's by their effective sample size; the last assumes that the draws kept
        by `max_draws` are independent.

    Raises
    ------
    TypeError
        For an object that is no tree.
    ValueError
        For trees without posterior draws, of different data, without common `obs`, or with other sites or shapes; for
        fewer than 10 `max_draws`.

    References
    ----------
    Székely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018 (energy distance); Vehtari et al. 2021, arXiv:1903.08008
    (R-hat).

    Examples
    --------
    >>> import torch
    >>> from ppl_vae import build, data
    >>> from ppl_vae.diagnostics import hmc, to_arviz
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> _ = torch.manual_seed(0)
    >>> vae = build(digits, latent_dim=2)
    >>> q = to_arviz(vae, digits.test, num_samples=200, seed=0)
    >>> found = compare_posteriors(q, hmc(vae, digits.test, seed=0, num_warmup=100, num_samples=200))
    >>> dict(found.sizes), found.attrs["num_unreliable"]
    ({'obs': 3, 'unit': 2}, 0)
    """
    if max_draws < 10:
        raise ValueError(f"compare_posteriors expects max_draws of at least 10, got {max_draws}; give 500, say")
    q, reference = (_posterior(tree, name) for tree, name in ((guide_tree, "q"), (reference_tree, "the reference")))
    _check_same(q, reference)
    obs = [i for i in q["obs"].values if i in set(reference["obs"].values)]
    units, q_draws = _by_unit(q.sel(obs=obs))
    _, r_draws = _by_unit(reference.sel(obs=obs))
    reference_rhat, reliable = _verdict(reference_tree, obs)
    keep_freed()
    by_unit = {name: np.full((len(obs), len(units)), np.nan) for name in BY_UNIT}
    by_datum = {name: np.full(len(obs), np.nan) for name in BY_DATUM}

    def compare(i: int) -> None:
        found = differences(q_draws[:, :, i].reshape(-1, len(units)), r_draws[:, :, i], max_draws)
        for name, values in (by_unit | by_datum).items():
            values[i] = found[name]

    threads = torch.get_num_threads()
    # NumPy computes in several threads at once; each with threads of its own for products would take twice the time
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list((map if threads == 1 else pool.map)(compare, np.flatnonzero(reliable).tolist()))
    return with_units(
        {
            **{name: (("obs", "unit"), by_unit[name], said) for name, said in BY_UNIT.items()},
            **{name: (("obs",), by_datum[name], said) for name, said in BY_DATUM.items()},
            "reference_rhat": (("obs",), reference_rhat, "1"),
            "reliable": (("obs",), reliable, "1"),
        },
        {"obs": obs, "unit": units},
        cannot_see="a mode that the reference missed as well, and the data whose reference is unreliable, left out",
        **{k: v for k, v in reference.attrs.items() if k in ("model", "data", "sampler")},
        num_unreliable=int((~reliable).sum()),
    )


def _posterior(tree: Any, name: str) -> xr.Dataset:
    if not hasattr(tree, "groups"):
        raise TypeError(
            f"compare_posteriors expects an ArviZ tree for {name}, got {type(tree).__name__}; give what to_arviz and "
            "hmc return"
        )
    if "posterior" not in groups(tree):
        raise ValueError(
            f"compare_posteriors expects posterior draws of {name}, got the groups {groups(tree)}; give what to_arviz "
            "and hmc return"
        )
    dataset = group(tree, "posterior")
    return dataset if "obs" in dataset.dims else dataset.expand_dims("obs", axis=2)  # tree.sel(obs=i) is one datum


def _check_same(q: xr.Dataset, reference: xr.Dataset) -> None:
    """Refuse draws that belong to different data or latents."""
    if q.attrs.get("data") != reference.attrs.get("data"):
        raise ValueError(
            "compare_posteriors expects draws for the same data, got two identities: "
            f"{q.attrs.get('data')} and {reference.attrs.get('data')}; give both the same split, and select afterwards"
        )
    if set(q.data_vars) != set(reference.data_vars):
        raise ValueError(
            f"compare_posteriors expects the same sites, got {sorted(map(str, q.data_vars))} of q and "
            f"{sorted(map(str, reference.data_vars))} of the reference; give the same program to both"
        )
    for name in q.data_vars:
        shapes = q[name].shape[3:], reference[name].shape[3:]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"compare_posteriors expects latents of one shape, got {shapes[0]} and {shapes[1]} at {name!r}; give "
                "the same program to both"
            )
    if not set(q["obs"].values) & set(reference["obs"].values):
        raise ValueError("compare_posteriors expects data that both trees have, got none; select the same obs")


def _by_unit(posterior: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """All units of all sites, by name, and their draws (chain, draw, obs, units)."""
    units, columns = [], []
    for name in sorted(map(str, posterior.data_vars)):
        z = posterior[name].transpose("chain", "draw", "obs", ...).values
        event = z.shape[3:]
        units += [f"{name}[{', '.join(map(str, i))}]" if i else name for i in np.ndindex(event)]
        columns.append(z.reshape(*z.shape[:3], -1))
    return units, np.concatenate(columns, -1, dtype=np.result_type(np.float32, *columns))


def _verdict(tree: Any, obs: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The reference's R-hat and whether it can be relied on, each (obs,)."""
    if "diagnostics" not in groups(tree):
        return np.full(len(obs), np.nan), np.full(len(obs), True)
    said = group(tree, "diagnostics")
    said = said if "obs" in said.dims else said.expand_dims("obs")
    rhat_of = said["rhat"].sel(obs=obs).values if "rhat" in said else np.full(len(obs), np.nan)  # a grid has none
    return rhat_of, said["reliable"].sel(obs=obs).values.astype(bool)


REFERENCES = ("quadrature_posterior", "hmc")  # the exact one first


def reference(results: Results) -> Any:
    """The most exact draws from the posterior among the results."""
    return next(results[name] for name in REFERENCES if name in results)


def _told(_: Subject, results: Results) -> list[str]:
    found = results["compare_posteriors"]
    against = "exact draws, from a grid" if REFERENCES[0] in results else "draws of HMC"
    return [
        f"Against {against}, the means of q are off by {spread(np.abs(found['mean_error'].values))} standard "
        f"deviations, and its standard deviations {spread(found['sd_ratio'].values)} times the posterior's "
        "(median, 5-95 % over data and units)."
    ]


def _figures(subject: Subject, results: Results) -> Iterator[Figure]:
    if _flat(group(subject.tree, "posterior")).shape[-1] > 1:
        last = len(subject.chosen) - 1
        which = (0, last // 2, last), ("best fitted", "middle", "worst fitted")
        panels = [panel(subject, results, at, title) for at, title in zip(*which, strict=True)]
        yield Figure("posteriors", [panels], (13 / 3, 4.6))


def panel(subject: Subject, results: Results, at: int, title: str) -> Panel:
    """q against draws of the posterior for one datum, in the two units most correlated under the posterior."""
    draws = results["hmc"] if "hmc" in results else reference(results)
    q, p = (_flat(group(tree, "posterior"))[:2000, at] for tree in (subject.tree, draws))
    ties = np.abs(np.nan_to_num(np.corrcoef(p.T))) - np.eye(p.shape[1])
    dims = tuple(sorted(int(i) for i in np.unravel_index(ties.argmax(), ties.shape)))
    obs = int(subject.chosen.index[at])
    about = subject.check.sel(obs=obs)
    at_least = "" if about["known"] else "at least "
    said = f"{title}, obs {obs}\nKL {at_least}{float(about['kl_gap']):.2f} nats"
    if "hmc" in results:
        said += f", R-hat of HMC {float(group(results['hmc'], 'diagnostics')['rhat'].sel(obs=obs)):.2f}"
    more = {"dims": dims} | (_density(results, at) if p.shape[1] == 2 else {})
    return Panel("posterior_against_reference", (q[:, dims], p[:, dims]), more, said)


def _flat(draws: xr.Dataset) -> np.ndarray:
    """All units of all sites, (draws, obs, units), the chains interleaved."""
    z = _by_unit(draws)[1].swapaxes(0, 1)
    return z.reshape(-1, *z.shape[2:])


def _density(results: Results, at: int) -> dict[str, Any]:
    """The density of one datum's posterior, where `quadrature_posterior` gave it."""
    if "quadrature_posterior" not in results:
        return {}
    density = group(results["quadrature_posterior"], "density").isel(obs=at)
    extent = tuple(float(density[u][end]) for u in ("u_0", "u_1") for end in (0, -1))
    return {"log_density": density["log_density"].values.T, "extent": extent}


COMPARE_POSTERIORS = Diagnostic(
    name="compare_posteriors",
    question="How far is q from draws of the posterior?",
    answers="`compare_posteriors`",
    reading="Error of the mean in posterior standard deviations, ratio of the standard deviations",
    run=lambda subject, results: compare_posteriors(subject.tree, reference(results)),
    verdict=_told,
    figures=_figures,
    needs=REFERENCES,
    full=True,
)
