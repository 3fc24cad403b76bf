"""q(z | x) against draws from the true posterior, datum by datum and unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ks_2samp, wasserstein_distance

from ppl_vae.diagnostics.arviz_io import group, groups, rhat
from ppl_vae.diagnostics.datasets import with_units

__all__ = ["compare_posteriors"]


def compare_posteriors(guide_tree: Any, reference_tree: Any, *, max_draws: int = 500) -> xr.Dataset:
    """How q(z | x) differs from a reference posterior, by datum; no better than the reference.

    Data whose reference chains disagree (R-hat above 1.05) are flagged and NaN in every comparison.

    Parameters
    ----------
    guide_tree
        Draws from q: what `to_arviz` returns.
    reference_tree
        Draws from the posterior of the same data: what `hmc` or `quadrature_posterior` returns. One without R-hat is
        taken at its word.
    max_draws
        Draws of each that `energy_distance` and `rhat` see, evenly spaced; the former costs their square.

    Returns
    -------
    xarray.Dataset
        For the `obs` that both have and each latent `unit`, named ``site[i]``: `mean_error`, of q's mean, and
        `wasserstein` (1-Wasserstein distance), in standard deviations of the reference; `sd_ratio`, q's to the
        reference's; `ks`, the largest difference between the distribution functions; `rhat` of q and the reference as
        two chains, where 1.01 is little and 1.1 is much. By `obs`: `energy_distance` = 2 E|q - r| - E|q - q'| -
        E|r - r'| over all units, in standard deviations of the reference, without bias, so that it may come out
        slightly below 0; `reference_rhat` (NaN where it is not known) and `reliable`. The attribute `num_unreliable`
        says how many data are left out.

    Raises
    ------
    TypeError
        For what is no tree.
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
    by_unit = np.full((5, len(obs), len(units)), np.nan)
    energy = np.full(len(obs), np.nan)
    for i in np.flatnonzero(reliable):
        by_unit[:, i], energy[i] = _datum(q_draws[:, i], r_draws[:, i], max_draws)
    names = ("mean_error", "sd_ratio", "ks", "wasserstein", "rhat")
    said = dict(zip(names, ("reference sd", "1", "1", "reference sd", "1"), strict=True))
    return with_units(
        {
            **{name: (("obs", "unit"), values, said[name]) for name, values in zip(names, by_unit, strict=True)},
            "energy_distance": (("obs",), energy, "reference sd"),
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
    """All units of all sites, by name, and their draws (draws, obs, units), the chains alternating."""
    units, columns = [], []
    for name in sorted(map(str, posterior.data_vars)):
        z = posterior[name].transpose("chain", "draw", "obs", ...).values
        event = z.shape[3:]
        units += [f"{name}[{', '.join(map(str, i))}]" if i else name for i in np.ndindex(event)]
        columns.append(z.swapaxes(0, 1).reshape(z.shape[0] * z.shape[1], z.shape[2], -1))
    return units, np.concatenate(columns, -1).astype(float)


def _verdict(tree: Any, obs: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The reference's R-hat and whether it can be relied on, each (obs,)."""
    if "diagnostics" not in groups(tree):
        return np.full(len(obs), np.nan), np.full(len(obs), True)
    said = group(tree, "diagnostics")
    said = said if "obs" in said.dims else said.expand_dims("obs")
    rhat_of = said["rhat"].sel(obs=obs).values if "rhat" in said else np.full(len(obs), np.nan)  # a grid has none
    return rhat_of, said["reliable"].sel(obs=obs).values.astype(bool)


def _datum(q: np.ndarray, r: np.ndarray, max_draws: int) -> tuple[np.ndarray, float]:
    """Comparison of the draws of one datum, each (draws, units): (5, units), and the energy distance."""
    sd = r.std(0)
    q, r = (q - r.mean(0)) / sd, (r - r.mean(0)) / sd
    num = min(len(q), len(r), max_draws)
    q_few, r_few = _thinned(q, num), _thinned(r, num)
    by_unit = [
        q.mean(0),
        q.std(0),
        [ks_2samp(a, b, method="asymp").statistic for a, b in zip(q.T, r.T, strict=True)],
        [wasserstein_distance(a, b) for a, b in zip(q.T, r.T, strict=True)],
        rhat(xr.Dataset({"z": (("chain", "draw", "unit"), np.stack([q_few, r_few]))}))["z"].values,
    ]
    return np.array(by_unit), 2 * cdist(q_few, r_few).mean() - pdist(q_few).mean() - pdist(r_few).mean()


def _thinned(draws: np.ndarray, num: int) -> np.ndarray:
    return draws[np.linspace(0, len(draws) - 1, num).round().astype(int)]
