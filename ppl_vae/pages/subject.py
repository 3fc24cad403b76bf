"""One run of a page: its evaluation, its diagnosis, and what the page's JavaScript draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.calls import verb
from ppl_vae.diagnostics import Diagnosis, Diagnostic, diagnose
from ppl_vae.evaluation import Evaluation, evaluate
from ppl_vae.libraries import pd
from ppl_vae.pages.latents import codes_of, context_of, latents, posteriors, prior_draws
from ppl_vae.pages.values import Looks, plain, raw
from ppl_vae.pages.walks import explorer, samples
from ppl_vae.split import Split
from ppl_vae.training import Run
from ppl_vae.vae import VAE

__all__ = ["Subject", "content", "judged"]

_MOST_LABELS = 24
_MOST_DATA = 1000
_PRIOR, _POINTS = 10_000, 500


@dataclass(frozen=True)
class Subject:
    """A run and what was found of it.

    Attributes
    ----------
    name
        On the page.
    run
        With its history and configuration.
    vae, split
        The model, and the data it is judged on.
    result
        Of `evaluate`.
    found
        Of `diagnose`; `None` where q has no spread that could be judged.
    """

    name: str
    run: Run
    vae: VAE
    split: Split
    result: Evaluation
    found: Diagnosis | None


@verb
def judged(
    vae: VAE, split: Split, *, diagnostics: Sequence[Diagnostic], full: bool, method: str, **settings: Any
) -> tuple[Evaluation, Diagnosis | None]:
    """The evaluation of some data, and their diagnosis where q has a density and more than one code."""
    first = evaluate(vae, split[:1], num_samples=2, seed=settings["seed"], progress=False)
    if "log_px" not in first.per_datum or first.one_code or len(split) < 2:
        return evaluate(vae, split, **settings), None
    found = diagnose(vae, split, full=full, method=method, diagnostics=diagnostics, **settings)
    return found.check.evaluation, found


@verb
def content(vae: VAE, subject: Subject, *, share: float, seed: int, most: int) -> dict[str, Any]:
    """What the page's JavaScript draws of a run; `share` is its part of what a page holds, `most` of the weights."""
    looks = Looks.of(vae, subject.split)
    some = subject.split[: max(1, int(share * _MOST_DATA))]
    codes = codes_of(vae, some, seed)
    site = vae.prior.sites[-1]
    names = [f"{site}[{j}]" for j in range(codes.shape[1])]
    order = _order(subject.result.unit_variance.get(site, []), codes)
    prior, sites = _prior(vae, some, seed)
    found = {
        "name": subject.name,
        "looks": looks.described(),
        "history": _history(subject.run.history),
        "data": _data(subject, some, looks, looks.at_most(share), seed),
        "labels": _labels(some),
        "latents": latents(codes, None if prior is None else prior[:_POINTS], names, order),
        "samples": None if prior is None else samples(vae, some, looks, share / 2, seed),
        "explorer": {"names": names, **explorer(vae, some, looks, codes, order, share / 2, most)},
        "posteriors": None,
    }
    if subject.found is not None:
        found["posteriors"] = posteriors(vae, some, sites, seed)
    return found


def _prior(vae: VAE, split: Split, seed: int) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Draws of the prior; none of an improper one."""
    try:
        return prior_draws(vae, context_of(vae, split, _PRIOR), _PRIOR, seed)
    except ValueError:
        return None, {}


def _order(variance: Sequence[float], codes: Tensor) -> list[int]:
    """Units by the variance over the data of their mean under q, the largest first; by that of codes where unknown."""
    activity = torch.tensor(variance, dtype=torch.float64)
    if len(activity) != codes.shape[1] or not activity.isfinite().all():
        activity = codes.double().var(0, correction=0)
    order: list[int] = activity.argsort(descending=True, stable=True).tolist()
    return order


def _history(history: pd.DataFrame) -> dict[str, Any]:
    """The terms of the objective by epoch, in nats per datum."""
    terms = [str(name) for name in history if str(name).startswith(("train_", "validation_"))]
    return {"epoch": history.index.tolist(), "terms": {name: plain(history[name].to_numpy(float)) for name in terms}}


def _data(subject: Subject, some: Split, looks: Looks, num: int, seed: int) -> dict[str, Any]:
    """The numbers of each datum, and values and reconstructions of `num`, from the best to the worst fitted."""
    vae, table = subject.vae, subject.result.per_datum.iloc[: len(some)]
    chosen = torch.arange(min(num, len(some)))
    if subject.found is not None and num < len(some):
        ranked = subject.found.check.stratified(len(subject.split))
        ranked = ranked[ranked < len(some)]
        chosen = ranked[torch.linspace(0, len(ranked) - 1, num).round().long()].sort().values
    few = some[chosen]
    x_hat = vae.raw(vae.reconstruct(few, seed=seed)).cpu()
    columns = ("pareto_k", "kl_gap", "log_px", "elbo", "reconstruction")
    numbers = {name: plain(table[name].to_numpy(float)) for name in columns if name in table}
    known = [] if subject.found is None else subject.found.check.known[: len(some)].tolist()
    return {
        "obs": some.index.tolist(),
        "good_k": plain(float(subject.result.good_k)),
        "known": known,
        **numbers,
        "shown": chosen.tolist(),
        "x": looks.shown(raw(vae, few)),
        "gaps": not bool(few.observed.all()),
        "x_hat": looks.shown(x_hat),
    }


def _labels(split: Split) -> dict[str, Any] | None:
    """The label of each datum, as a number of a list of names, or as a value where there are many."""
    if split.y is None or split.y.dim() != 1:
        return None
    values = split.y.double().numpy()
    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) > _MOST_LABELS or (distinct != distinct.round()).any():
        return {"values": plain(values)}
    classes = split.classes
    names = [str(classes[int(v)]) if classes and 0 <= v < len(classes) else f"{v:g}" for v in distinct]
    return {"names": names, "codes": torch.from_numpy(np.searchsorted(distinct, values)).tolist()}
