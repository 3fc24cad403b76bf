"""Simulation-based calibration: whether q is exact, on average over data simulated from the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Panel, Results, Subject
from ppl_vae.diagnostics.guide.coverage import coverage
from ppl_vae.diagnostics.guide.ecdf import simultaneous_band
from ppl_vae.diagnostics.guide.ranks import by_quantity, pit
from ppl_vae.diagnostics.model import simulated
from ppl_vae.diagnostics.posterior import log_joints
from ppl_vae.diagnostics.results import attributes, group, of_draws, to_tree, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import data, p_value, spread
from ppl_vae.libraries import stats, xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["SBC", "coverage_panel", "narrow", "rank_panel", "shares", "simulation_based_calibration"]

NUM_BINS = 10  # a shift or scale error changes the whole histogram: more bins have less power against it
FEWEST = 5 * NUM_BINS  # expected counts of five, below which the chi-square approximation is poor


@verb
def simulation_based_calibration(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_simulations: Count = 2000,
    num_draws: Count = 99,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> Any:
    """Ranks of true latents z* ~ p(z) among draws from q(z | x*), for x* ~ p(x | z*); uniform where q is exact.

    Ranks of each coordinate of z detect a biased q, ranks of log p(x, z) one that is too narrow or too wide. The data
    are simulated from the model: for real data see `posterior_pit`. With enough simulations any deviation, however
    small, is significant. Latents that a mask leaves out have their prior given the others, in draws from q as well, so
    that they are no evidence against it.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. The model must observe exactly x. The simulated data take their shape from x, and context and
        mask from each datum in turn, so that p(z | context) is averaged over all contexts. `max_rows` also counts
        simulated data.
    num_simulations
        Number of pairs (z*, x*), 50 or more.
    num_draws
        Draws from q per pair.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `prior_sbc`: by site, and for `log_joint`, (rank + u) / (num_draws + 1) with u uniform in (0, 1), ties broken at
        random; dimensions chain (one), draw (the simulations) and those of the site's unconstrained values.
        `diagnostics`: by `quantity` the `mean` of these values (above 1/2 where q is too low), its standard error under
        calibration, and the `p_value` of a chi-square test over ten bins; `p_value_overall`, by Bonferroni, valid for
        dependent p-values: half the level goes to `log_joint`, the other half is shared by the coordinates.

    Raises
    ------
    ValueError
        For too few simulations, draws or rows; for an improper prior, which cannot be sampled, and for discrete latents
        or a point mass, which have no density; for a model that observes anything other than x.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Talts et al. 2018, arXiv:1804.06788; Modrák et al. 2023, arXiv:2211.02383 (log p(x, z)); Yao et al. 2018,
    arXiv:1802.02538 (of variational inference).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> tree = simulation_based_calibration(build(digits, latent_dim=2), digits.test, num_simulations=50, seed=0)
    >>> dict(tree["prior_sbc"].sizes) == {"chain": 1, "draw": 50, "latent": 2}
    True
    """
    if num_simulations < FEWEST:
        raise ValueError(
            f"simulation_based_calibration expects {FEWEST} simulations or more, got {num_simulations}; give more"
        )
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        of_sites, of_joint = _ranked(program, split, num_simulations, num_draws, max_rows, progress)
        attrs = attributes(program, split, used, num_simulations=num_simulations, num_draws=num_draws)
    attrs["cannot_see"] = (
        "q on real data, where it may be worse than on data of the model's own; faults of q that cancel on average "
        "over x; and faults too small for the number of simulations"
    )
    ranks = of_draws({name: v[None] for name, v in of_sites.items()}, ("chain", "draw"), {})
    ranks["log_joint"] = (("chain", "draw"), of_joint[None].numpy())
    ranks = ranks.assign_attrs(attrs)
    return to_tree({"prior_sbc": ranks, "diagnostics": _verdict(ranks, attrs)})


def _ranked(
    program: Modelled, split: Split, num_simulations: int, num_draws: int, max_rows: int, progress: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """The values by site, (num_simulations, ...), and of log_joint, (num_simulations,)."""
    truth, data = simulated(program, split, num_simulations, max_rows=max_rows)
    by_site: list[dict[str, Tensor]] = []
    of_joints: list[Tensor] = []
    with progress_bar("simulation-based calibration", num_simulations, "simulation", shown=progress) as bar:
        for rows, joint in log_joints(program, data, num_draws, max_rows=max_rows):
            u_true = joint.unconstrained({name: v[rows][None] for name, v in truth.items()})
            u = joint.from_guide(num_draws)
            of_u = pit(u_true[0], u)
            of_joints.append(pit(joint(u_true).log_joint[0], joint(u).log_joint))
            by_site.append(
                {n: of_u[:, placed.columns].reshape(-1, *placed.shape) for n, placed in joint.layout.items()}
            )
            bar.update(rows.stop - rows.start)
    return {n: torch.cat([part[n] for part in by_site]).cpu() for n in by_site[0]}, torch.cat(of_joints).cpu()


def _verdict(ranks: xr.Dataset, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Mean and test of uniformity of each quantity."""
    values = by_quantity(ranks).isel(chain=0).transpose("quantity", "draw")
    counts = np.stack([np.histogram(v, NUM_BINS, (0, 1))[0] for v in values.values])
    p = stats.chisquare(counts, axis=1).pvalue
    *of_z, of_joint = p  # log_joint comes last
    return with_units(
        {
            "mean": (("quantity",), values.mean("draw"), "1"),
            "mean_mcse": (("quantity",), np.full(len(p), (12 * values.sizes["draw"]) ** -0.5), "1"),
            "p_value": (("quantity",), p, "1"),
            "p_value_overall": ((), min(1.0, 2 * min(of_joint, len(of_z) * min(of_z))), "1"),
        },
        {"quantity": values["quantity"].values},
        **attrs,
    )


def of_latents(found: xr.Dataset) -> xr.Dataset:
    """The coverage of the latents, without log p(x, z)."""
    return found.sel(quantity=[q for q in found["quantity"].values if q != "log_joint"])


def shares(found: xr.Dataset) -> str:
    """A coverage in a sentence."""
    latents = of_latents(found)
    held = [(prob, spread(latents["coverage"].sel(prob=prob).values, "{:.0%}")) for prob in found["prob"].values]
    said = ", ".join(f"{prob:.0%} intervals of q hold the truth in {share}" for prob, share in held)
    return f"By latent unit (median; 5-95 %), {said} of cases."


def coverage_panel(found: xr.Dataset) -> Panel:
    """Empirical against nominal coverage, one line per quantity."""
    args = found["prob"].values, found["coverage"].values, found["coverage_mcse"].values
    return Panel("coverage", args, {"names": found["quantity"].values.tolist()})


def rank_panel(tree: Any, title: str = "") -> Panel:
    """ECDF of the ranks minus the uniform CDF, with a simultaneous band."""
    ranks = group(tree, "prior_sbc")
    pit_of = {str(name): values.values[0] for name, values in ranks.data_vars.items()}
    return Panel("sbc_ecdf_difference", (pit_of, simultaneous_band(ranks.sizes["draw"])), title=title)


def narrow(found: xr.Dataset, kind: str) -> str:
    """A sentence against q if its 90 % intervals contain the truth in less than 85 % of cases, else empty."""
    held = float(of_latents(found)["coverage"].sel(prob=0.9).mean())
    return f"its 90 % intervals hold the truth in {held:.0%} of all cases, on {kind} data" if held < 0.85 else ""


def _clearest(results: Results) -> tuple[float, str]:
    """The p-value of all quantities together, and the quantity whose own is smallest."""
    found = group(results["simulation_based_calibration"], "diagnostics")
    worst = found.isel(quantity=int(np.argmin(found["p_value"].values)))
    return float(found["p_value_overall"]), str(worst["quantity"].item())


def _told(_: Subject, results: Results) -> list[str]:
    num = group(results["simulation_based_calibration"], "diagnostics").attrs["num_simulations"]
    p, worst = _clearest(results)
    verdict = (
        f"No: q is not the posterior, {p_value(p)}, clearest by {worst}"
        if p < 0.05
        else f"No sign that it is not: {p_value(p)}"
    )
    held = shares(coverage(results["simulation_based_calibration"]))
    return [
        f"{verdict}, on {data(num)} simulated from the model. {held}",
        "With so many simulations small faults are seen: the coverage says how large they are.",
    ]


def _against(results: Results) -> str:
    if "posterior_pit" in results and narrow(coverage(results["posterior_pit"]), "real"):
        return ""  # already reported for real data

    covered = coverage(results["simulation_based_calibration"])
    said, (p, worst) = narrow(covered, "simulated"), _clearest(results)
    if said or p >= 0.05:
        return said
    held = float(of_latents(covered)["coverage"].sel(prob=0.9).mean())
    return (
        f"on simulated data it can be told from the posterior, clearest by {worst} (90 % intervals of the latents hold "
        f"{held:.0%})"
    )


def _figures(_: Subject, results: Results) -> Iterator[Figure]:
    yield Figure("sbc", [[rank_panel(results["simulation_based_calibration"])]])
    yield Figure("coverage_simulated", [[coverage_panel(coverage(results["simulation_based_calibration"]))]])


SBC = Diagnostic(
    name="simulation_based_calibration",
    question="Is q calibrated, on data of the model's own?",
    answers="`simulation_based_calibration`, `coverage`",
    reading="A curve that leaves the band is a fault; the coverage says how large",
    run=lambda subject, _: simulation_based_calibration(subject.program, subject.data, **subject.options),
    verdict=_told,
    figures=_figures,
    looks_for="calibration on simulated data",
    against=_against,
)
