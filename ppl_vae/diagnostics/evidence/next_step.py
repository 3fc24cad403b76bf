"""What to run next: its cost and what it buys, measured on a few of the data."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from ppl_vae.diagnostics.diagnostic import Diagnostic, Results, Subject
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.evaluation import evaluate
from ppl_vae.evaluation.wording import data, mean_and_error, told
from ppl_vae.libraries import xr
from ppl_vae.vae import VAE, semi_amortized

__all__ = ["NEXT_STEP"]

_FEW = 20
"""Data that are tried."""

_STEPS: dict[str, Any] = {"num_steps": 20, "learning_rate": 0.05}


def _tried(subject: Subject, _: Results) -> xr.Dataset:
    """By `tried`, at most 20 data, evenly spaced: log p(x) as it was and adaptive, and the ELBO of q and of q refined.

    `index` is their position in the data set: they need not be those of a tree, whose dimension is `obs`.
    `refined_elbo` is NaN for a program that is no VAE or whose posterior cannot be refined.
    """
    check, num = subject.check, subject.check.attrs["num_samples"]
    at = np.unique(np.linspace(0, len(subject.data) - 1, _FEW).round().astype(int))
    some, plain = subject.data[torch.from_numpy(at)], check.isel(obs=at)
    start = time.perf_counter()
    adaptive = evaluate(subject.program, some, method="adaptive", num_samples=num, **subject.options)
    seconds = {"adaptive_seconds": time.perf_counter() - start}
    refined = np.full(len(at), np.nan)
    start = time.perf_counter()
    try:
        vae: Any = subject.program
        table = evaluate(semi_amortized(vae, **_STEPS), some, num_samples=num, **subject.options).per_datum
        refined, seconds["refined_seconds"] = table["elbo"].to_numpy(), time.perf_counter() - start
    except (TypeError, ValueError):  # a program, several levels, a q that is no function of noise
        pass
    table, nats = adaptive.per_datum, "nats"
    found = {
        "index": (plain["obs"].values, "1"),
        "log_px": (plain["log_px"].values, nats),
        "adaptive_log_px": (table["log_px"].to_numpy(), nats),
        "known": (plain["pareto_k"].values <= check.attrs["good_k"], "1"),
        "believed": (table["believed"].to_numpy(), "1"),
        "evaluations": (table["evaluations"].to_numpy(), "evaluations of log p(x, z)"),
        "elbo": (plain["elbo"].values, nats),
        "refined_elbo": (refined, nats),
    }
    return with_units(
        {name: (("tried",), *said) for name, said in found.items()},
        {},
        cannot_see="what it would buy for data unlike those tried, and what a training would",
        **attributes(subject.program, some, subject.options["seed"], num_samples=num, **seconds),
    )


def _told(subject: Subject, results: Results) -> list[str]:
    found = results["next_step"]
    n, few, num = len(subject.data), found.sizes["tried"], found.attrs["num_samples"]
    change = mean_and_error((found["log_px"] - found["adaptive_log_px"]).values)
    name, shell = ("vae", ", or `ppl-vae evaluate RUN --method adaptive`") if _is_vae(subject) else ("program", "")
    lines = [
        f'`evaluate({name}, data, method="adaptive", num_samples={num})`{shell}: '
        f"about {_seconds(found.attrs['adaptive_seconds'] * n / few)} for {data(n)}. Of {few} tried log p(x) is "
        f"believed for {int(found['believed'].sum())}, where k-hat was good for {int(found['known'].sum())}, and the "
        f"NLL changes by {told(*change)} nats."
    ]
    gain = (found["refined_elbo"] - found["elbo"]).values
    if np.isfinite(gain).any():
        steps = ", ".join(f"{name}={value}" for name, value in _STEPS.items())
        lines.append(
            f"`semi_amortized(vae, {steps})` raises the ELBO of these {few} by {told(*mean_and_error(gain))} nats "
            f"without training: about {_seconds(found.attrs['refined_seconds'] * n / few)} to evaluate {data(n)}."
        )
    return lines


def _is_vae(subject: Subject) -> bool:
    """Whether a run of the program can be scored on the command line."""
    return isinstance(subject.program, VAE)


def _seconds(seconds: float) -> str:
    """`40 s`, `12 min`: to one or two digits."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{round(minutes)} min" if minutes < 100 else f"{round(minutes / 60)} h"


NEXT_STEP = Diagnostic(
    name="next_step",
    question="What to run next, at what cost?",
    answers='`evaluate(method="adaptive")`, `semi_amortized`',
    reading="Measured on 20 data, where k-hat is high for some: what each would take for all, and what it bought",
    run=_tried,
    verdict=_told,
    fits=lambda subject: (
        subject.check.attrs["method"] == "importance"
        and bool((subject.check["pareto_k"] > subject.check.attrs["good_k"]).any())
    ),
)
