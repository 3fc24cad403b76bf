"""The KL from a guide to the posterior for each datum, and whether the estimate is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.diagnostics.results import with_units
from ppl_vae.evaluation import Evaluation, evaluate
from ppl_vae.evaluation.wording import data
from ppl_vae.importance import FEWEST
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["GuideCheck", "Report", "check_guide"]

_TELLING = 0.5  # nats: with a larger error, log p(x) counts as a lower bound only
UNSEEN = "a mode of p(z | x) that q never visits: k-hat, ESS and log p(x) all look well without it"


class Report(str):
    """Text whose repr is the text itself, for notebooks and prompts."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@verb
def check_guide(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    method: str = "importance",
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> GuideCheck:
    """KL(q(z | x) || p(z | x)) of each datum, and whether the estimate is believed.

    Read three numbers per datum together: `kl_gap`, `pareto_k` (whether `kl_gap` is believed) and `ess`. None of them
    detects a mode of the posterior that q never visits; diagnostics that start from the prior do: `ais(init="prior")`,
    `hmc`, `simulation_based_calibration`.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`, whose `index` becomes the coordinate `obs`.
    *context
        What the data are conditioned on, each (n, ...); a `Split` has its own.
    mask
        False where an element of x is missing; a `Split` has its own.
    method
        Of log p(x), as in `evaluate`: with ``"adaptive"`` the KL is known for nearly all data.
    num_samples
        Draws S per datum, 25 or more; k-hat is stable from about 1,000 on.
    seed
        Seed of all random numbers; if `None`, fresh entropy, and the seed is recorded in the result.
    max_rows
        Pairs of draw and datum decoded at once; bounds the memory, not the result.
    progress
        Show a progress bar if the output is a terminal.

    Returns
    -------
    GuideCheck

    Raises
    ------
    ValueError
        For fewer than 25 draws; for a point mass or an improper prior, which have no KL to a posterior; and for
        whatever `evaluate` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Yao et al. 2018, arXiv:1802.02538 (k-hat of a variational posterior); Vehtari et al. 2024, arXiv:1507.02646.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> check = check_guide(build(digits, latent_dim=2, seed=0), digits.test, num_samples=100, seed=0)
    >>> check.dataset.kl_gap.attrs["units"], dict(check.dataset.sizes)
    ('nats', {'obs': 300})
    """
    if num_samples < FEWEST:
        raise ValueError(
            f"check_guide expects at least {FEWEST} samples, got {num_samples}; k-hat has no tail in fewer, and is "
            "steady from 1,000 on"
        )
    settings: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "max_rows": max_rows, "progress": progress}
    return GuideCheck(evaluate(program, x, *context, mask=mask, method=method, **settings))


@checked
@dataclass(frozen=True, eq=False)
class GuideCheck:
    """Result of `check_guide`.

    Parameters
    ----------
    evaluation
        Result of `evaluate`, from 25 samples or more.

    Raises
    ------
    ValueError
        For an evaluation without log p(x) (a point mass or an improper prior), of a vector-quantized q, whose draws
        are all the same code, or from fewer than 25 samples.
    """

    evaluation: Evaluation

    def __post_init__(self) -> None:
        if "log_px" not in self.evaluation.per_datum:
            raise ValueError(
                "check_guide expects a posterior and a prior with densities, got a point mass (Point) or an improper "
                "prior (Flat): there is no p(z | x) to compare q with; use another posterior and prior"
            )
        if self.evaluation.one_code:
            raise ValueError(
                "check_guide expects a posterior with a spread, got one code a datum (VectorQuantized), whose draws "
                "say nothing of the rest of p(z | x); use the ELBO of `evaluate`, a bound as always"
            )
        if self.evaluation.num_samples < FEWEST:
            raise ValueError(
                f"check_guide expects an evaluation from at least {FEWEST} samples, got "
                f"{self.evaluation.num_samples}; evaluate again with more"
            )

    @property
    def dataset(self) -> xr.Dataset:
        """By `obs`: elbo, log_px, kl_gap, each with its `_mcse`, log_px_bias (nats), ess (draws) and pareto_k (1).

        `kl_gap` = log_px - elbo estimates KL(q(z | x) || p(z | x)) where `pareto_k` is at most `good_k`; elsewhere it
        is a lower bound in expectation, and its standard error is too small.
        """
        table = self.evaluation.per_datum
        variables = {name: (("obs",), table[name].to_numpy(), units) for name, units in _VARIABLES.items()}
        return with_units(
            variables,
            {"obs": table.index.to_numpy()},
            cannot_see=UNSEEN,
            model=" ".join(self.evaluation.formula.splitlines()),
            base_measure=self.evaluation.base_measure,
            data=self.evaluation.data["identity"],
            seed=self.evaluation.seed,
            method="importance" if self.evaluation.adaptation is None else "adaptive",
            num_samples=self.evaluation.num_samples,
            good_k=self.evaluation.good_k,
        )

    @checked
    def stratified(self, num: Count) -> Tensor:
        """Positions of at most `num` data from the best to the worst fitted, evenly spaced in rank of `kl_gap`."""
        order = np.argsort(self.evaluation.per_datum["kl_gap"].to_numpy(), kind="stable")
        ranks = np.unique(np.linspace(0, len(order) - 1, min(num, len(order))).round().astype(int))
        return torch.from_numpy(order[ranks])

    @checked
    def worst(self, num: Count = 10) -> Tensor:
        """Positions of the `num` data with the largest `kl_gap`, the worst first."""
        order = np.argsort(-self.evaluation.per_datum["kl_gap"].to_numpy(), kind="stable")
        return torch.from_numpy(order[:num].copy())

    def report(self) -> Report:
        """The verdict, and which diagnostics to run next."""
        return Report("\n".join([self.verdict(), "", *self._next()]))

    def verdict(self) -> Report:
        """The KL from q to the posterior, for which data it is known, and whether log p(x) is believed."""
        return Report("\n".join([*self._head(), "", *self._distance(), *self._belief()]))

    def _head(self) -> list[str]:
        e = self.evaluation
        nll, se = e.summary.loc["nll"]
        elbo = e.summary["mean"]["elbo"]
        nll_said = f"{nll:.2f} ± {se:.2f}" if np.isfinite(se) else f"{nll:.2f} (of one datum)"
        mean = "mean " if len(e.per_datum) > 1 else ""
        return [
            *e.formula.splitlines(),
            f"{data(len(e.per_datum))}, S = {e.num_samples} draws each, seed {e.seed}; "
            f"{mean}NLL {nll_said}, {mean}-ELBO {-elbo:.2f} nats per datum",
        ]

    def how_far(self) -> str:
        """The median KL from q to the posterior over data where it is known, and the median lower bound elsewhere."""
        gap, known, bounded = self.evaluation.per_datum["kl_gap"], self.known, self._bounded
        parts = []
        if known.any():
            of = "" if known.all() else f" for {known.sum()} of {data(len(gap))}"
            parts.append(f"{gap[known].median():.2f} nats from the posterior (median KL){of}")
        if bounded.any():
            of = f" for {'the other ' if known.any() else ''}{bounded.sum()}" if not bounded.all() else ""
            what = "" if known.any() else " from the posterior"
            parts.append(f"at least {gap[bounded].median():.2f} nats{what} (median of lower bounds){of}")
        if not parts:
            return (
                "q leaves the support of p(x, z) for every datum: it is infinitely far from the posterior, or undefined"
            )
        return f"q is {' and '.join(parts)}"

    def _distance(self) -> list[str]:
        gap, e = self.evaluation.per_datum["kl_gap"], self.evaluation
        known, bounded = self.known, self._bounded
        lines = []
        if known.any():
            low, median, high = gap[known].quantile([0.05, 0.5, 0.95])
            spread = f" (median; 5-95 %: {low:.2f} to {high:.2f})" if known.sum() > 1 else ""
            where = (
                f"over all {data(len(gap))}" if known.all() else f"over the {data(known.sum())} where it can be told"
            )
            over = where if len(gap) > 1 else "for the one datum"
            lines.append(f"KL(q || p(z | x)) = {median:.2f} nats{spread} {over}: {_distance(median)}.")
        if bounded.any():
            rest = "the other " if known.any() else "all " if bounded.all() else ""
            of = f" (median of lower bounds) for {rest}{bounded.sum()}" if len(gap) > 1 else ", a lower bound"
            lines.append(f"At least {gap[bounded].median():.2f} nats{of}.")
        if lost := int((~known & ~bounded).sum()):
            lines.append(f"log p(x) is -inf or undefined for {data(lost)}: q leaves the support of p(x, z).")
        worst = ", ".join(f"obs {gap.index[i]} ({gap.iloc[i]:.1f})" for i in self.worst(3).tolist())
        ess = e.per_datum["ess"]
        lines.append(f"Farthest: {worst}. Draws of q are worth {ess.median():.0f} of {e.num_samples} (median ESS).")
        first, *others = lines
        return [f"How far is q?  {first}", *(f"{'':15}{line}" for line in others)]

    def _belief(self) -> list[str]:
        e, ask = self.evaluation, "Can log p(x) be believed?  "
        if e.exact:
            return [f"{ask}Yes: it is the sum over all states of the latents, without error."]
        if e.adaptation is not None:
            verdict = "Yes" if e.unreliable == 0 else "Mostly" if e.unreliable <= 0.1 else "No"
            return [
                f"{ask}{verdict}: {e.methods}.",
                *(f"{note[0].upper()}{note[1:]}." for note in e.adaptation["notes"]),
            ]
        missed = f"of {data(e.undrawn)} some states of a discrete latent were not drawn and cannot be summed over"
        if e.per_datum["pareto_k"].isna().all():
            no_tail = "the weights of a discrete q have no tail"
            return [f"{ask}It cannot be told: {missed if e.undrawn else no_tail}."]
        high = float(e.per_datum["pareto_k"].gt(e.good_k).mean())
        share = f"k-hat is above {e.good_k:.2f} for {high:.1%} of the data"
        if e.unreliable == 0:
            bias = float(e.per_datum["log_px_bias"].to_numpy().mean())
            return [f"{ask}Yes, within the support of q's draws: {share}; it lies {-bias:.3f} nats too low (mean)."]
        share += f", and {missed}" if e.undrawn else ""
        share += f", and q is so narrow that its draws coincide for {e.collapsed}" if e.collapsed else ""
        return [
            f"{ask}{'Mostly' if e.unreliable <= 0.1 else 'No'}: {share}. There log p(x) may lie "
            "too low by more than its error says, so the NLL is an upper bound."
        ]

    def _next(self) -> list[str]:
        steps = []
        if self.evaluation.adaptation is None and self.evaluation.unreliable > 0:
            steps.append("evaluate(..., method='adaptive'): log p(x) to believe for most of the data with high k-hat")
        if self.evaluation.per_datum["pareto_k"].gt(self.evaluation.good_k).any():
            steps.append('ais(..., init="guide") on the data with high k-hat: log p(x) without that error')
        if self.evaluation.exact:
            return [
                "What to run next",
                "  Nothing: discrete latents have no gradient to climb, and the sum misses no mode",
            ]
        steps += [
            f'ais(..., init="prior") and hmc(...) on x[check.stratified({min(100, len(self.known))})]: the modes '
            "that q never visits, which no number above can see",
            "inference_gaps(...) on the same data: is it the encoder, or the family of q?",
        ]
        return ["What to run next", *(f"  {i}. {step}" for i, step in enumerate(steps, 1))]

    @property
    def known(self) -> np.ndarray:
        """Where the KL is known: log p(x) is exact, or k-hat is good and the error of log p(x) at most half a nat."""
        table = self.evaluation.per_datum
        believed = table.get("believed", table["pareto_k"].le(self.evaluation.good_k))
        judged = believed & table["log_px_mcse"].le(_TELLING)
        known: np.ndarray = ((judged | table["log_px_mcse"].eq(0)) & np.isfinite(table["kl_gap"])).to_numpy()
        return known

    @property
    def _bounded(self) -> np.ndarray:
        """Where `kl_gap` is a lower bound: all other data, except where q leaves the support of p(x, z)."""
        bounded: np.ndarray = np.isfinite(self.evaluation.per_datum["kl_gap"].to_numpy()) & ~self.known
        return bounded


def _distance(kl: float) -> str:
    """A KL in words; Pinsker bounds the total variation by sqrt(KL / 2)."""
    if kl < 0.02:
        return "close, probabilities under q are off by at most 0.1"
    if kl < 0.5:
        return f"off, probabilities under the median q may be wrong by up to {(kl / 2) ** 0.5:.2f}"
    return "far, expectations under q are not those of the posterior"


_VARIABLES = {
    "elbo": "nats",
    "elbo_mcse": "nats",
    "log_px": "nats",
    "log_px_mcse": "nats",
    "log_px_bias": "nats",
    "kl_gap": "nats",
    "kl_gap_mcse": "nats",
    "pareto_k": "1",
    "ess": "draws",
}
