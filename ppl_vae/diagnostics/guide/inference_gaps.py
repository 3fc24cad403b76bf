"""The inference gap in two parts: amortization gap (encoder) and approximation gap (family of q)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Positive, Seed
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Panel, Results, Subject
from ppl_vae.diagnostics.guide.refinement import Refined, refine
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import score
from ppl_vae.evaluation.estimates import reliability
from ppl_vae.evaluation.wording import data, mean_and_error, told
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import FEWEST, good_k, log_marginal, standard_error, tail_error
from ppl_vae.isolation import gpus
from ppl_vae.libraries import xr
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.split import Split

__all__ = ["INFERENCE_GAPS", "gaps_panel", "inference_gaps"]


@verb
def inference_gaps(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_steps: Count = 200,
    num_particles: Count = 4,
    learning_rate: Positive = 0.03,
    num_samples: Count = 1000,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """KL(q || p(z | x)) in two parts: amortization gap L[q*] - L[q] and approximation gap log p(x) - L[q*].

    q* is the best member of q's family for each datum, found by gradient ascent from the encoder's q. Where the ascent
    has not converged, the amortization gap is too small and the approximation gap too large. Their sum is unreliable
    where log p(x) is, that is, where both k-hats are high.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. The parameters refined are those that a guide stores at its sites under
        `infer["parametrization"]`, as every posterior of this library does, and otherwise those in the
        `arg_constraints` of its distributions. Networks, including those of a flow, stay fixed.
    num_steps, num_particles, learning_rate
        Of the ascent: steps of Adam, draws from q in each, and the initial learning rate. The same for all data.
    num_samples
        Draws per datum to evaluate q and q*, 25 or more; a quarter as many choose between them.

    Returns
    -------
    xarray.Dataset
        By `obs`, in nats, of the data in their original units: `elbo` of q, `refined_elbo` of q*, `log_px`, and
        `amortization_gap`, `approximation_gap` and their sum `kl_gap`; each with its Monte Carlo standard error,
        `<name>_mcse`. `pareto_k` and `ess` of q, `refined_pareto_k` and `refined_ess` of q*. Where draws lie too close
        together to have a density, k-hat is infinite and the errors are NaN.

        `is_refined`: false where q* was no better than q on a separate set of draws; q is then kept and the gap is
        exactly 0. Selection on separate draws biases neither; a gap below 0 is noise. `log_px_by_refined`: whether
        log p(x) was estimated with q* as proposal, selected on the same separate draws: by ESS where both k-hats are
        good, elsewhere by k-hat.

    Raises
    ------
    ValueError
        For a q with parameters of neither kind, or without `rsample` (a discrete one, a mixture); for a
        point mass or an improper prior; for too few samples, steps, particles or rows.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Cremer et al. 2018, arXiv:1801.03558.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> vae = build(digits, latent_dim=2)
    >>> gaps = inference_gaps(vae, digits.test[:3], seed=0, num_steps=50, num_samples=100)
    >>> bool((gaps.amortization_gap > 0).all())  # the encoder is untrained
    True
    """
    if num_samples < FEWEST:
        raise ValueError(f"inference_gaps expects num_samples of {FEWEST} or more, got {num_samples}; give more")
    settings: dict[str, Any] = {"num_steps": num_steps, "num_particles": num_particles, "learning_rate": learning_rate}
    columns: dict[str, Tensor] = {}
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        where = find_plates(program, split)
        total, max_rows = len(split) * num_steps, where.rows(max_rows)
        with progress_bar("inference gaps", total, "step", shown=progress) as bar:
            for rows in chunks(len(split), num_particles, max_rows):
                part = split[rows]
                on_step = partial(bar.update, len(part))
                refined = refine(program, *arguments(program, part), where, on_step=on_step, **settings)
                for few in chunks(len(part), num_samples, max_rows):
                    judged = _judged(program, refined[few], part[few], num_samples, max_rows)
                    for name, values in judged.items():
                        empty = torch.empty(len(split), dtype=values.dtype)
                        columns.setdefault(name, empty)[rows][few] = values.cpu()
        volume = log_volume(program, split)
        attrs = attributes(program, split, used, num_samples=num_samples, **settings)
    for name in ("elbo", "refined_elbo", "log_px"):
        columns[name] -= volume
    return with_units(
        {name: (("obs",), values, _UNITS.get(name, "nats")) for name, values in columns.items()},
        {"obs": split.index.tolist()},
        cannot_see=_CANNOT_SEE,
        **attrs,
    )


_CANNOT_SEE = (
    "modes of the posterior that neither q nor q* visits: log p(x), and with it the approximation gap, is then "
    "too small; and better members of the family that gradient ascent from q does not reach"
)


def _judged(program: Modelled, refined: Refined, data: Split, num_samples: int, max_rows: int) -> dict[str, Tensor]:
    """Variables of the result for some data, each (n,)."""
    args, mask = arguments(program, data)

    def weights(q: Modelled, num: int) -> _Weights:
        drawn = score(q, args, mask, num, 0, max_rows, refined.where)
        log_w = in_float64(drawn.log_weights)
        return _Weights(log_w, drawn.coarse.to(log_w.device))

    def of_both(refined: Refined, num: int) -> tuple[_Weights, _Weights]:
        """Of `num` draws, with common random numbers."""
        with torch.random.fork_rng(devices=gpus(program)):
            of_q = weights(program, num)
        return of_q, weights(refined, num)

    q, better = of_both(refined, max(FEWEST, num_samples // 4))
    is_refined = _gains(q.log_w, better.log_w)
    by_refined = is_refined & _weighs_better(q.reliability, better.reliability, len(q.log_w))
    q, better = of_both(refined.only(is_refined), num_samples)
    gaps = _gaps(q.log_w, better.log_w, torch.where(by_refined, better.log_w, q.log_w))
    unknown, of_q, of_better = q.coarse | better.coarse, q.reliability, better.reliability
    return {
        **{name: torch.where(unknown & name.endswith("_mcse"), math.nan, values) for name, values in gaps.items()},
        **{"pareto_k": of_q["pareto_k"], "refined_pareto_k": of_better["pareto_k"]},
        **{"ess": of_q["ess"], "refined_ess": of_better["ess"]},
        "is_refined": is_refined,
        "log_px_by_refined": by_refined,
    }


class _Weights(NamedTuple):
    """Log weights (draws, n), and where their draws lie too close together, (n,): see `draws.Draws.coarse`."""

    log_w: Tensor
    coarse: Tensor

    @property
    def reliability(self) -> dict[str, Tensor]:
        """ESS and k-hat, each (n,)."""
        return reliability(self.log_w, True, self.coarse)


def _gaps(log_w: Tensor, refined_log_w: Tensor, best_log_w: Tensor) -> dict[str, Tensor]:
    """Bounds, log p(x) by the best weights, their differences and their standard errors.

    The errors are those of means over draws; log p(x) is, to first order, the mean of the weights over their mean
    (delta method). Wherever log p(x) enters, `tail_error` is added in quadrature.
    """
    log_px = log_marginal(best_log_w).estimate
    weight, tail = (best_log_w - log_px).exp(), tail_error(best_log_w)
    none = torch.zeros_like(tail)
    elbo, refined_elbo = log_w.mean(0), refined_log_w.mean(0)
    columns: dict[str, Tensor] = {}
    for name, value, each, more in (
        ("elbo", elbo, log_w, none),
        ("refined_elbo", refined_elbo, refined_log_w, none),
        ("log_px", log_px, weight, tail),
        ("amortization_gap", refined_elbo - elbo, refined_log_w - log_w, none),
        ("approximation_gap", log_px - refined_elbo, weight - refined_log_w, tail),
        ("kl_gap", log_px - elbo, weight - log_w, tail),
    ):
        columns |= {name: value, f"{name}_mcse": torch.hypot(standard_error(each), more)}
    return columns


def _weighs_better(q: Mapping[str, Tensor], refined: Mapping[str, Tensor], num_draws: int) -> Tensor:
    """Whether the refined q is the better proposal; not judged by the higher log p(x), which would be biased."""
    k, refined_k = q["pareto_k"], refined["pareto_k"]
    both_good = torch.maximum(k, refined_k) <= good_k(num_draws)
    return torch.where(both_good, refined["ess"] > q["ess"], refined_k < k)


def _gains(log_w: Tensor, refined_log_w: Tensor) -> Tensor:
    """Whether the refined q has the higher ELBO.

    The difference of the weights, whose expectation is 0, is a control variate for the difference of their logarithms,
    so that an exact q is told from one that is nearly exact.
    """
    gain = refined_log_w - log_w
    most = torch.maximum(refined_log_w, log_w).max(0).values
    chance = (refined_log_w - most).exp() - (log_w - most).exp()
    centred = chance - chance.mean(0)
    slope = (centred * gain).sum(0) / centred.square().sum(0).clamp_min(torch.finfo(gain.dtype).tiny)
    return gain.mean(0) > slope * chance.mean(0)


_UNITS = {
    **dict.fromkeys(("pareto_k", "refined_pareto_k", "is_refined", "log_px_by_refined"), "1"),
    **dict.fromkeys(("ess", "refined_ess"), "draws"),
}


_SMALL = 0.05  # nats, too little to change a conclusion

_ADVICE = {
    "the encoder": "a better encoder, or refinement of each datum, buys more than another family",
    "the family of q": "a richer family (FullRankNormal, IAF) buys more than a better encoder",
}


def _told(_: Subject, results: Results) -> list[str]:
    found = results["inference_gaps"]
    encoder, family = (mean_and_error(found[name].values) for name in ("amortization_gap", "approximation_gap"))
    said = f"amortization gap {told(*encoder)}, approximation gap {told(*family)} nats"
    if max(encoder[0], family[0]) < _SMALL:
        first = f"There is next to no gap to explain: {said}."
    elif not abs(encoder[0] - family[0]) > 2 * float(np.hypot(encoder[1], family[1])):
        first = f"It cannot be told which is larger: {said}; give more data."
    else:
        larger = "the encoder" if encoder[0] > family[0] else "the family of q"
        first = f"Most of the gap is {larger}'s: {said} (means of the chosen data); {_ADVICE[larger]}."
    lines = [
        first,
        f"Refining q for each of {data(found.sizes['obs'])} takes the median ESS from "
        f"{float(found['ess'].median()):.0f} to {float(found['refined_ess'].median()):.0f} "
        f"of {found.attrs['num_samples']} draws.",
    ]
    share = float((found["refined_pareto_k"] > good_k(found.attrs["num_samples"])).mean())
    if share > 0:
        lines.append(f"k-hat stays too high for {share:.0%} of them: their approximation gap is a lower bound.")
    return lines


def gaps_panel(found: xr.Dataset, title: str = "") -> Panel:
    """Both gaps of each datum."""
    args = found["amortization_gap"], found["approximation_gap"]
    return Panel("gap_decomposition", args, {"obs": found["obs"].values}, title)


INFERENCE_GAPS = Diagnostic(
    name="inference_gaps",
    question="Is it the encoder, or the family of q?",
    answers="`inference_gaps`",
    reading="What refining q's own parameters for one datum gains is the encoder's share; the rest is the family's",
    run=lambda subject, _: inference_gaps(subject.program, subject.chosen, **subject.options),
    verdict=_told,
    figures=lambda _, results: iter([Figure("inference_gaps", [[gaps_panel(results["inference_gaps"])]])]),
    full=True,
)
