"""Bounds and log p(x) for each datum, with their errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ppl_vae.adaptive import Settings
from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.evaluation.adaptive import Belief, believable, check_method
from ppl_vae.evaluation.compiled_scores import CompiledScores
from ppl_vae.evaluation.in_bfloat16 import check_products, scored
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.group import Group
from ppl_vae.isolation import evaluating, seed_in_use, using_threads
from ppl_vae.libraries import pd
from ppl_vae.modelled import Modelled
from ppl_vae.raw_units import as_observed, check_units
from ppl_vae.split import Split
from ppl_vae.vae.formula import formula_of

__all__ = ["evaluate"]

_WORK = "an evaluation", "start all of them again"


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
    precision: Literal["bf16"] | None = None,
    compile: Literal["auto"] | bool = False,
    threads: Count | None = None,
    progress: bool = True,
) -> Evaluation:
    """ELBO, reconstruction, KL per site, log p(x) and whether it is believed, for each datum.

    Where torch's process group is initialized all its processes must call it alike: each scores some of the data, and
    all have the result of one process, to the last bit, with `compile` up to rounding.

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
        Of ``"adaptive"``: temperatures of the annealing of data whose k-hat stays high, and up to four times as
        many for those whose chains still spread.
    seed
        Seed of the draws; fresh entropy, recorded in the result, if `None`.
    max_rows
        Pairs of draw and datum decoded at once, 1 or more; bounds the memory. Draws for a seed depend on it.
    precision
        ``"bf16"``: linear maps and convolutions of the networks are computed in bfloat16, which GPUs and CPUs with
        AVX512-BF16 or AMX do faster; log densities and their sums stay in float32. The model is then another one by
        its rounding. The result says how much log p(x) changes, measured on up to 100 of the data.
    compile
        `True`: the model's log densities at draws of its latents are compiled by torch's inductor, which needs a C++
        compiler and some seconds; they are those of `False` up to rounding. ``"auto"``:
        that, where the scores to come take a minute or more. What cannot be compiled is computed as by `False`, and
        `Evaluation.compiled` says why.
    threads
        Threads of this process while it scores, as many as before by default; see `fit`.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    Evaluation
        In the data's original units, where the split knows them: of what the model observes of x as it came.

    Warns
    -----
    UserWarning
        For ``"bf16"`` on a device that is not faster with it.

    Raises
    ------
    ValueError
        For data outside the likelihood's support: the score of grey pixels under a Bernoulli is no log-likelihood;
        for sites outside one plate over the data; for no samples, rounds, temperatures or rows; for another method.
        For ``"bf16"`` with ``"adaptive"``, or with parameters that are not in float32.
        With ``"adaptive"`` for fewer than 25 samples, a point mass or an improper prior. In several processes for a
        model that draws random numbers where its latents are given.
    RuntimeError
        If another process of the process group ended, or does not answer.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519 (the estimate); Vehtari et al. 2024, arXiv:1507.02646 (k-hat); Cornuet et al.
    2012, arXiv:0907.1254, and Paananen et al. 2021, arXiv:1906.08850 (adaptation).

    Examples
    --------
    >>> import torch
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> result = evaluate(build(digits, latent_dim=2), digits.test, num_samples=50, seed=0)
    >>> bool((result.per_datum.elbo <= result.per_datum.log_px).all())
    True
    """
    check_method("evaluate", method, num_samples)
    check_products(program, precision, method)
    check_units(program, split := Split.of(x, *context, mask=mask))
    (group := Group(_WORK)).check_threads(threads)
    with using_threads(threads), evaluating(program, group.of_first(seed_in_use(seed))) as used:
        split, progress = split.fixed(used), progress and group.first
        by = CompiledScores(compile, math.ceil(len(split) / group.size)) if compile else None
        volume = (observed := as_observed(program, split)).log_volume
        found, rounded = scored(program, split, num_samples, max_rows, progress, group, volume, precision, used, by)
        q = found.columns, found.highest, bool(found.narrow), Settings(num_samples, num_rounds, num_temperatures)
        adaptation = believable(program, split, *q, max_rows, progress, group, volume) if method == "adaptive" else None
        _warn_of(found.narrow if adaptation is None and group.first else ())
        return Evaluation(
            per_datum=_table(found.columns, adaptation, observed),
            unit_variance={name: found.variance_of_means(name, num_samples) for name in found.moments},
            num_samples=num_samples,
            seed=used,
            base_measure=found.measure,
            data=split.record(),
            formula=formula_of(program),
            adaptation=None if adaptation is None else adaptation.said,
            rounded=rounded,
            compiled=None if by is None else by.said(group),
        )


def _warn_of(narrow: Sequence[str]) -> None:
    if narrow:
        warnings.warn(
            "importance sampling expects a q(z | x) with a density on all of its prior's support, got a smaller one at "
            f"{list(narrow)}: log p(x) leaves out what lies outside, and is too low however many draws there are and "
            "whatever k-hat says; give method='adaptive', or another posterior",
            stacklevel=5,
        )


def _table(columns: dict[str, Tensor], adaptation: Belief | None, split: Split) -> pd.DataFrame:
    """A row a datum; with bits per dimension, where the raw data are countable and something of them was observed."""
    more: dict[str, Any] = {} if adaptation is None else adaptation.columns
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()}).assign(**more)
    table.index = pd.Index(split.index.tolist(), name="obs")
    if "log_px" in table and split.domain and split.domain.countable:
        elements = split.elements.numpy()
        table["bits_per_dim"] = -table["log_px"] / np.where(elements, elements * math.log(2), np.nan)
    return table
