"""Bounds and log p(x) for each datum, with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.adaptive import Settings
from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.draws import Draws, draws
from ppl_vae.enumeration import Enumerated
from ppl_vae.evaluation.adaptive import believable, check_method
from ppl_vae.evaluation.estimates import errors, reliability
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.importance import FEWEST, standard_error
from ppl_vae.isolation import evaluating
from ppl_vae.libraries import pd
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.split import Split
from ppl_vae.vae.formula import formula_of

__all__ = ["evaluate", "per_datum", "summed"]


@verb
def evaluate(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    method: str = "importance",
    num_samples: Count = 1000,
    num_rounds: Count = 8,
    num_temperatures: Count = 100,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> Evaluation:
    """ELBO, reconstruction, KL per site, log p(x) and their reliability, for each datum.

    In eval mode, without gradients, at beta = 1 and with every scale removed; weights are never changed. Every datum
    is encoded once and gets exactly `num_samples` draws. log p(x) is estimated by importance sampling with q, a
    stochastic lower bound; modes of the posterior that q never visits are missing from it, unseen by k-hat. Latents
    that are all discrete, with at most 4096 states together, are summed over instead, exactly.

    With `method="adaptive"` data with a high k-hat are given proposals of their own: q's mean and covariance, moved by
    gradient steps on the ELBO and by rounds of moment matching, as a Student t mixed with the prior. log p(x) is then
    estimated from `num_samples` fresh draws, which had no part in fitting them; where their k-hat is high still, by
    annealing from the fitted proposal. Data with a good k-hat keep their numbers, which are those of
    ``"importance"``. A good one may be luck: where more than 10 % of the data have a high k-hat, one within 0.2 of the
    threshold counts as high too, and where more than half have one, all do. For each datum a tenth of the draws, three
    tenths where a proposal is fitted, and three climbs start from the prior. Where they find a mode that the proposal
    misses, it is fitted anew from there too. What cannot be believed in the end is named as a bound.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`, whose random preprocessing is carried out once from `seed`.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    method
        ``"importance"``, or ``"adaptive"`` for a log p(x) to believe, at some five times the cost where k-hat is high.
    num_samples
        Draws S a datum; k-hat and active units need 25, k-hat some 1,000 to be steady.
    num_rounds
        Of ``"adaptive"``: rounds of S / 2 draws a datum at most, to fit its proposal.
    num_temperatures
        Of ``"adaptive"``: temperatures of the annealing of data whose k-hat stays high.
    seed
        Seed of the draws; fresh entropy, recorded in the result, if `None`.
    max_rows
        Pairs of draw and datum decoded at once, 1 or more; bounds the memory.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    Evaluation
        In the data's original units, where the split knows them.

    Raises
    ------
    ValueError
        For data outside the likelihood's support: the score of grey pixels under a Bernoulli is no log-likelihood;
        for sites outside one plate over the data; for no samples, rounds, temperatures or rows; for another method.
        With ``"adaptive"`` for fewer than 25 samples, a point mass or an improper prior.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519 (the estimate); Vehtari et al. 2024, arXiv:1507.02646 (k-hat); Cornuet et al.
    2012, arXiv:0907.1254, and Paananen et al. 2021, arXiv:1906.08850 (adaptation).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> result = evaluate(build(digits, latent_dim=2), digits.test, num_samples=50, seed=0)
    >>> bool((result.per_datum.elbo <= result.per_datum.log_px).all())
    True
    """
    check_method("evaluate", method, num_samples)
    split = Split.of(x, *context, mask=mask)
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        found = _by_q(program, split, num_samples, max_rows, progress)
        columns, adaptation = found.columns, None
        if method == "adaptive":
            settings = Settings(num_samples, num_rounds, max(FEWEST, num_samples // 2), num_temperatures)
            adaptation = believable(program, split, columns, found.highest, settings, max_rows, progress)
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    if adaptation is not None:
        table = table.assign(**adaptation.columns)
    table.index = pd.Index(split.index.tolist(), name="obs")
    return Evaluation(
        per_datum=_with_bits(table, split),
        unit_variance={name: m.variance_of_means(num_samples).tolist() for name, m in found.moments.items()},
        num_samples=num_samples,
        seed=used,
        base_measure=found.measure,
        data={"identity": split.identity, "checksum": split.checksum, "provenance": split.provenance},
        formula=formula_of(program),
        adaptation=None if adaptation is None else adaptation.said,
    )


@dataclass(frozen=True)
class _Found:
    """Columns of `per_datum`, running sums of the latents, the base measure, and each datum's largest log weight."""

    columns: dict[str, Tensor]
    moments: dict[str, _Moments]
    measure: str
    highest: Tensor


def _by_q(program: Modelled, split: Split, num_samples: int, max_rows: int, progress: bool) -> _Found:
    """From draws of q; `highest` is the largest log weight of each datum, in nats and the units of x."""
    # allocated at once: small results kept from every chunk would fragment the heap
    columns: dict[str, Tensor] = {}
    moments: dict[str, _Moments] = {}
    measures = set()
    volume = split.log_volume
    highest = torch.full((len(split),), -math.inf, dtype=torch.float64)
    with tqdm(total=len(split), unit="datum", disable=None if progress else True, leave=False) as bar:
        for rows, drawn in draws(program, split, num_samples, max_rows=max_rows):
            for name, values in per_datum(drawn, volume[rows]).items():
                column = columns.setdefault(name, torch.empty(len(split), dtype=torch.float64))
                column[rows] = in_float64(values).cpu()
            for name, z in drawn.z.items():
                moments.setdefault(name, _Moments(z)).add(z)
            highest[rows] = in_float64(drawn.log_weights).max(0).values.cpu()
            measures.add(drawn.measure)
            bar.update(rows.stop - rows.start)
    return _Found(columns, moments, measures.pop(), highest)


def per_datum(drawn: Draws, log_volume: Tensor) -> dict[str, Tensor]:
    """ELBO, reconstruction, KL per site, log p(x) with its error and gap, ESS and k-hat, each (n,).

    Log densities are of the raw data, `log_volume` (n,) below those of x. A point mass or an improper prior has the
    reconstruction alone. Numbers that are not defined are NaN: the error and the gap of one draw, the k-hat of few
    draws, and that of a discrete q, whose weights have no tail. Discrete latents with few states are summed over,
    without an error; where there are more states and one was not drawn, the error of log p(x) is not known. All draws
    of a q that is one code are equal and count as one: log p(x) is then the ELBO. Where nothing of x was observed,
    log p(x) is 0, without an error and with a k-hat of 0.
    """
    if drawn.singular or drawn.improper:
        log_likelihood = in_float64(drawn.log_likelihood)
        return {"reconstruction": log_likelihood.mean(0) - log_volume.to(log_likelihood.device)}
    states, num_samples = drawn.enumerated, len(drawn.log_likelihood)
    found = _estimated(drawn) if states is None else summed(states, num_samples)
    if drawn.empty is not None:
        found |= _of_nothing(found, drawn.empty.to(found["elbo"].device))
    volume = log_volume.to(found["elbo"].device)
    return {k: v - volume if k in ("elbo", "reconstruction", "log_px") else v for k, v in found.items()}


def _estimated(drawn: Draws) -> dict[str, Tensor]:
    """`per_datum` from draws, in the units of x."""
    log_w = in_float64(drawn.log_weights)[: 1 if drawn.quantized else None]
    unseen = drawn.unseen.to(log_w.device)
    agree = unseen & (log_w == log_w[0]).all(0)
    return {
        "elbo": log_w.mean(0),
        "reconstruction": in_float64(drawn.log_likelihood).mean(0),
        **{_kl(name): in_float64(drawn.log_q[name] - drawn.log_p[name]).mean(0) for name in drawn.z},
        "elbo_mcse": torch.where(agree, math.nan, standard_error(log_w)),
        **errors(log_w, unseen),
        **reliability(log_w, not drawn.discrete_q),
    }


def _of_nothing(found: dict[str, Tensor], empty: Tensor) -> dict[str, Tensor]:
    """Where nothing of x was observed, log p(x) is 0, and the gap, KL(q || p(z)), is minus the ELBO."""
    known = dict.fromkeys(("log_px", "log_px_mcse", "log_px_bias", "pareto_k"), torch.zeros_like(found["elbo"]))
    known |= {"kl_gap": -found["elbo"], "kl_gap_mcse": found["elbo_mcse"]}
    return {name: torch.where(empty, value, found[name]) for name, value in known.items()}


def summed(states: Enumerated, num_samples: int) -> dict[str, Tensor]:
    """`per_datum` from all states of discrete latents, in the units of x, without an error."""
    log_px, log_w = states.log_px, states.log_joint - states.log_guide
    elbo, zero = states.mean(log_w), torch.zeros_like(log_px)
    return {
        "elbo": elbo,
        "reconstruction": states.mean(states.log_likelihood),
        **{_kl(name): states.mean(states.log_q[name] - states.log_p[name]) for name in states.log_q},
        "log_px": log_px,
        **dict.fromkeys(("elbo_mcse", "log_px_mcse", "log_px_bias", "kl_gap_mcse"), zero),
        "kl_gap": log_px - elbo,
        "ess": states.ess(num_samples),
        "pareto_k": torch.full_like(log_px, math.nan),
    }


def _kl(site: str) -> str:
    """The column of a site's KL; an underscore keeps it apart from the columns of the gap."""
    return f"kl_{site}_" if site.rstrip("_") in ("gap", "gap_mcse") else f"kl_{site}"


class _Moments:
    """Running sums of posterior means over the data, of every latent unit."""

    def __init__(self, z: Tensor) -> None:
        self.n = 0
        self.total, self.square, self.noise = torch.zeros(3, z[0, 0].numel(), dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Add draws (S, n, *event)."""
        z = in_float64(z.flatten(2) if z.dim() > 2 else z.unsqueeze(-1))
        mean = z.mean(0).cpu()
        if len(z) > 1:
            self.noise += (z.var(0) / len(z)).sum(0).cpu()
        self.n += len(mean)
        self.total += mean.sum(0)
        self.square += mean.square().sum(0)

    def variance_of_means(self, num_samples: int) -> Tensor:
        """Variance over the data, less what the finite number of draws adds; (units,), NaN for too few draws."""
        mean = self.total / self.n
        if num_samples < FEWEST:  # the noise of so few draws is as large as the variance
            return torch.full_like(mean, math.nan)
        variance: Tensor = self.square / self.n - mean.square() - self.noise / self.n
        return variance.clamp_min(0)


def _with_bits(table: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Bits per dimension beside log p(x), where the raw data are countable and something of them was observed."""
    if "log_px" in table and split.domain and split.domain.countable:
        elements = split.elements.numpy()
        table["bits_per_dim"] = -table["log_px"] / np.where(elements, elements * math.log(2), np.nan)
    return table
