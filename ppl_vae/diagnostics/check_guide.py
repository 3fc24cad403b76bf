"""The first question to ask of a guide: how far from the posterior, and is that believable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.datasets import with_units
from ppl_vae.evaluation import Evaluation, evaluate
from ppl_vae.importance import FEWEST
from ppl_vae.split import Split

__all__ = ["GuideCheck", "Report", "check_guide"]

UNSEEN = "a mode of p(z | x) that q never visits: k-hat, ESS and log p(x) all look well without it"


class Report(str):
    """Text that shows itself as it is, in a notebook or at a prompt."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@verb
def check_guide(
    program: nn.Module,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> GuideCheck:
    """How far q(z | x) is from p(z | x) for each datum, and whether that number can be believed.

    Three numbers a datum, never one alone: `kl_gap` (how far), `pareto_k` (whether to believe it) and `ess`. None of
    them sees a mode of the posterior that q never visits; only what starts from the prior does: `ais(init="prior")`,
    `hmc`, `simulation_based_calibration`.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    num_samples
        Draws S a datum, 25 or more; k-hat is steady from some 1,000 on.
    seed
        Seed of the draws; fresh entropy, recorded, if `None`.
    max_rows
        Pairs of draw and datum decoded at once; bounds the memory.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    GuideCheck

    Raises
    ------
    ValueError
        For fewer than 25 draws; for a point mass or an improper prior, of which there is no posterior to be far from;
        and for whatever `evaluate` refuses.
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
    found = evaluate(
        program, x, *context, mask=mask, num_samples=num_samples, seed=seed, max_rows=max_rows, progress=progress
    )
    return GuideCheck(found)


@dataclass(frozen=True, eq=False)
class GuideCheck:
    """What `check_guide` found.

    Parameters
    ----------
    evaluation
        What `evaluate` found, from 25 samples or more.

    Raises
    ------
    ValueError
        For an evaluation without log p(x), of a point mass or an improper prior, of a q that is one code, or of too
        few samples.
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

        `kl_gap` = log_px - elbo is KL(q(z | x) || p(z | x)) where `pareto_k` is at most `good_k`, else a lower bound
        of it in the mean, its error too small.
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
            num_samples=self.evaluation.num_samples,
            good_k=self.evaluation.good_k,
        )

    def stratified(self, num: int) -> Tensor:
        """Positions of at most `num` data from the best to the worst fitted, evenly spaced in rank of `kl_gap`."""
        order = np.argsort(self.evaluation.per_datum["kl_gap"].to_numpy(), kind="stable")
        ranks = np.unique(np.linspace(0, len(order) - 1, min(num, len(order))).round().astype(int))
        return torch.from_numpy(order[ranks])

    def worst(self, num: int = 10) -> Tensor:
        """Positions of the `num` data with the largest `kl_gap`, the worst first."""
        order = np.argsort(-self.evaluation.per_datum["kl_gap"].to_numpy(), kind="stable")
        return torch.from_numpy(order[:num].copy())

    def report(self) -> Report:
        """A verdict to act on: how far q is, for which data that is known, and what to run next."""
        return Report("\n".join([self.verdict(), "", *self._next()]))

    def verdict(self) -> Report:
        """The report without what to run next."""
        return Report("\n".join([*self._head(), "", *self._distance(), *self._belief()]))

    def _head(self) -> list[str]:
        e = self.evaluation
        nll, se = e.summary.loc["nll"]
        elbo = e.summary["mean"]["elbo"]
        return [
            *e.formula.splitlines(),
            f"{len(e.per_datum)} data, S = {e.num_samples} draws each, seed {e.seed}; "
            f"NLL {nll:.2f} ± {se:.2f}, -ELBO {-elbo:.2f} nats per datum",
        ]

    def _distance(self) -> list[str]:
        gap, good, e = self.evaluation.per_datum["kl_gap"], self._good, self.evaluation
        finite = np.isfinite(gap.to_numpy())
        lines = []
        if good.any():
            low, median, high = gap[good].quantile([0.05, 0.5, 0.95])
            lines.append(
                f"KL(q || p(z | x)) = {median:.2f} nats (5-95 %: {low:.2f} to {high:.2f}) over the "
                f"{good.sum()} data where it can be told: {_distance(median)}."
            )
        if (rest := finite & ~good).any():
            lines.append(f"At least {gap[rest].median():.2f} nats (median of lower bounds) for the other {rest.sum()}.")
        if not finite.all():
            lines.append(f"log p(x) is -inf or undefined for {(~finite).sum()} data: q leaves the support of p(x, z).")
        worst = ", ".join(f"obs {gap.index[i]} ({gap.iloc[i]:.1f})" for i in self.worst(3).tolist())
        ess = e.per_datum["ess"]
        lines.append(f"Farthest: {worst}. Draws of q are worth {ess.median():.0f} of {e.num_samples} (median ESS).")
        first, *others = lines
        return [f"How far is q?  {first}", *(f"{'':15}{line}" for line in others)]

    def _belief(self) -> list[str]:
        e = self.evaluation
        if np.isnan(e.unreliable):
            return ["Can log p(x) be believed?  It cannot be told: the weights of a discrete q have no tail."]
        share = f"k-hat is above {e.good_k:.2f} for {e.unreliable:.1%} of the data"
        if e.unreliable == 0:
            bias = float(e.per_datum["log_px_bias"].to_numpy().mean())
            return [f"Can log p(x) be believed?  Yes, as far as q sees: {share}; it lies {-bias:.3f} nats too low."]
        return [
            f"Can log p(x) be believed?  {'Mostly' if e.unreliable <= 0.1 else 'No'}: {share}. There log p(x) may lie "
            "too low by more than its error says, so the NLL is an upper bound."
        ]

    def _next(self) -> list[str]:
        steps = []
        if not self._good.all() and not np.isnan(self.evaluation.unreliable):
            steps.append('ais(..., init="guide") on the data with high k-hat: log p(x) without that error')
        steps += [
            f'ais(..., init="prior") and hmc(...) on x[check.stratified({min(100, len(self._good))})]: the modes '
            "that q never visits, which no number above can see",
            "inference_gaps(...) on the same data: is it the encoder, or the family of q?",
        ]
        return ["What to run next", *(f"  {i}. {step}" for i, step in enumerate(steps, 1))]

    @property
    def _good(self) -> np.ndarray:
        """Where the gap is known: a k-hat that is too high, or none, leaves a bound."""
        table = self.evaluation.per_datum
        return ((table["pareto_k"] <= self.evaluation.good_k) & np.isfinite(table["kl_gap"])).to_numpy()


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
