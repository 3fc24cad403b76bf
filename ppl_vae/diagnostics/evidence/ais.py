"""Annealed importance sampling: log p(x) where q is far from the posterior or misses a mode."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Results, Subject
from ppl_vae.diagnostics.posterior import log_joints
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import data, mean_and_error, plural, told
from ppl_vae.importance import log_marginal, tail_error
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.site_values import coincide
from ppl_vae.split import Split
from ppl_vae.unconstrained.annealing import Path, Settings, anneal, num_pilot, schedule

__all__ = ["AIS_GUIDE", "AIS_PRIOR", "ais", "check_annealing"]


@verb
def ais(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    init: str = "prior",
    num_temperatures: Count = 500,
    num_chains: Count = 8,
    num_steps: Count = 1,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """log p(x) of each datum by annealed importance sampling; far too low, without a sign, if chains do not mix.

    The path is f_beta(z) = f_0(z)^(1 - beta) p(x, z)^beta, with f_0 the prior or q and beta from 0 to 1, with one HMC
    transition at each beta. Step sizes are tuned by datum and temperature in a pilot run, then fixed. The estimate is a
    stochastic lower bound, as in importance sampling.

    Chains from the prior can reach modes that q misses. From q the variance is lower, but modes that q misses stay
    missing. The standard error comes from the spread between chains: with few of them (8), or where `log_weight_sd` is
    above 1, it is usually too small. Then use more temperatures. Where the first draws lie too close together to have a
    density, as those of a q that has collapsed do, it is NaN: start from the prior.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; `max_rows` counts pairs of chain and datum.
    init
        ``"prior"`` or ``"guide"``: where the chains start.
    num_temperatures
        Values of beta after 0; the error falls about inversely with their number.
    num_chains
        Chains per datum.
    num_steps
        Steps at each temperature, each of two gradients (Blanes, Casas & Sanz-Serna 2014, arXiv:1405.3153). A run costs
        `2 * num_chains * num_temperatures * num_steps` evaluations of the density and its gradient per datum, and a
        quarter of that in its pilot run, of 100 temperatures or more where there are so many.

    Returns
    -------
    xarray.Dataset
        By `obs`: `log_px` (nats, for x in its original units), `log_px_mcse`, `log_px_bias` (to first order), `ess` of
        the chains' weights, `log_weight_sd`, the standard deviation of their logarithms, and `acceptance_rate`.

    Raises
    ------
    ValueError
        For another `init`, fewer than one temperature, step or row, or two chains; for discrete latents, a point mass
        or an improper prior; for whatever `session.diagnosing` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Neal 2001, arXiv:physics/9803008; Wu et al. 2017, arXiv:1611.04273 (decoders).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=2)
    >>> _ = torch.manual_seed(0)
    >>> found = ais(build(digits, latent_dim=2), digits.test, num_temperatures=20, num_chains=4, seed=0)
    >>> bool((found.log_weight_sd < 1).all())
    True
    """
    check_annealing("ais", init, num_temperatures, num_chains, num_steps)
    betas = schedule(num_temperatures)
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        log_w = torch.empty(num_chains, len(split), dtype=torch.float64)
        acceptance, close = torch.empty_like(log_w[0]), torch.zeros_like(log_w[0], dtype=torch.bool)
        total = (num_temperatures + num_pilot(num_temperatures)) * len(split)
        with progress_bar("AIS", total, "step", shown=progress, unit_scale=True) as bar:
            for rows, joint in log_joints(program, split, num_chains, max_rows=max_rows):
                path = Path(joint, from_guide=init == "guide")
                settings = Settings.tuned(path, betas, num_chains, num_steps, bar)
                first = path.draws(num_chains)
                found = (*anneal(path, first, betas, settings, bar), coincide(first).any(-1) & path.from_guide)
                log_w[:, rows], acceptance[rows], close[rows] = (part.cpu() for part in found)
        log_px = log_marginal(log_w)
        return with_units(
            {
                "log_px": (("obs",), log_px.estimate - log_volume(program, split), "nats"),
                "log_px_mcse": (("obs",), torch.hypot(log_px.mcse, _tail(log_w, close)), "nats"),
                "log_px_bias": (("obs",), log_px.bias, "nats"),
                "ess": (("obs",), log_px.ess, "chains"),
                "log_weight_sd": (("obs",), log_w.std(0), "nats"),
                "acceptance_rate": (("obs",), acceptance, "1"),
            },
            {"obs": split.index.tolist()},
            cannot_see=_CANNOT_SEE[init],
            **attributes(program, split, used, init=init, num_temperatures=num_temperatures, num_chains=num_chains),
        )


def _tail(log_w: Tensor, close: Tensor) -> Tensor:
    """The error from the tail of the weights; NaN where the first draws lie too close together."""
    return tail_error(log_w).masked_fill(close, math.nan)


def check_annealing(caller: str, init: str, num_temperatures: int, num_chains: int, num_steps: int) -> None:
    """Refuse settings that are out of range.

    Raises
    ------
    ValueError
        With the name of the setting.
    """
    if init not in _CANNOT_SEE:
        raise ValueError(f"{caller} expects init 'prior' or 'guide', got {init!r}; choose where the chains start")
    if num_chains < 2:
        raise ValueError(f"{caller} expects two chains or more, got {num_chains}; of one there is no standard error")


_CANNOT_SEE = {
    "prior": "modes so narrow or so far out that no chain from the prior found them, and then the error is too small",
    "guide": "modes that q never visits, and the error is too small where few chains carry most of the weight",
}


_SMALL = 0.05  # nats, too little to change a conclusion


def _from_guide(subject: Subject, results: Results) -> list[str]:
    found = results["ais_guide"]
    by_q = subject.check.sel(obs=found["obs"])["log_px"]
    more, error = mean_and_error((found["log_px"] - by_q).values)
    if more > max(2 * error, _SMALL):
        what = "by so much the NLL by importance sampling is too high there"
    elif more < -max(2 * error, _SMALL):
        what = "the chains have not converged; give more temperatures"
    else:
        what = "no difference beyond its error" if abs(more) <= 2 * error else "too little to change a conclusion"
    return [
        f"Annealing from q finds {told(more, error)} nats more of log p(x) than importance sampling, on the "
        f"{plural(found.sizes['obs'], 'chosen datum', 'chosen data')}: {what}. Both share the blind spots of q."
    ]


def _ahead(results: Results) -> np.ndarray:
    """For which data log p(x) is significantly higher by chains from the prior than by those from q."""
    prior, q = results["ais_prior"], results["ais_guide"]
    error = np.hypot(prior["log_px_mcse"], q["log_px_mcse"]).values
    ahead: np.ndarray = (prior["log_px"] - q["log_px"]).values > 3 * error + 0.1
    return ahead


def _from_prior(_: Subject, results: Results) -> list[str]:
    found = results["ais_prior"]
    if "ais_guide" not in results:
        return ["There is no annealing from q to compare with."]
    more, error = mean_and_error((found["log_px"] - results["ais_guide"]["log_px"]).values)
    spread, num = float(found["log_weight_sd"].median()), found.sizes["obs"]
    said = f"log p(x) from the prior less that from q: {told(more, error)} nats"
    if (clearly := int(_ahead(results).sum())) or more > max(2 * error, 0.1):
        first = f"Yes: {said}, clearly higher for {clearly} of {data(num)}"
    elif more < -0.5 or spread > 2:
        first = f"It cannot be told: chains from the prior have not converged ({said}); ask for more temperatures"
    elif not error < 0.25:
        first = f"It cannot be told from so few data or so short chains ({said})"
    else:
        first = f"No sign of any: {said}, on {data(num)}"
    return [
        f"{first}.",
        f"The log weights of these chains spread by {spread:.2f} nats: above 1 even their mean is not settled.",
    ]


def _missed(results: Results) -> str:
    if "ais_guide" not in results or not _ahead(results).any():
        return ""
    return (
        "chains from the prior find log p(x) that q does not: it misses modes, and numbers from its draws are too good"
    )


def _run(init: str, share: float) -> Callable[[Subject, Results], xr.Dataset]:
    def run(subject: Subject, _: Results) -> xr.Dataset:
        num_temperatures = max(min(subject.length, 50), round(share * subject.length))
        return ais(subject.program, subject.chosen, init=init, num_temperatures=num_temperatures, **subject.options)

    return run


AIS_GUIDE = Diagnostic(
    name="ais_guide",
    question="What is log p(x), annealed from q?",
    answers='`ais(init="guide")`',
    reading="For data whose k-hat is high: how much too low log p(x) by importance sampling is",
    run=_run("guide", 0.5),  # q is closer
    verdict=_from_guide,
    full=True,
)
AIS_PRIOR = Diagnostic(
    name="ais_prior",
    question="Are there modes that q never visits?",
    answers='`ais(init="prior")`',
    reading="A higher log p(x) than from q is a mode that q misses",
    run=_run("prior", 1.0),
    verdict=_from_prior,
    full=True,
    looks_for="annealing from the prior",
    against=_missed,
)
