"""All diagnostics of q(z | x) in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from torch import Tensor

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Subject
from ppl_vae.diagnostics.evidence import AIS_GUIDE, AIS_PRIOR, NEXT_STEP
from ppl_vae.diagnostics.guide import (
    COMPARE_POSTERIORS,
    COVERAGE_REAL,
    COVERAGE_SIMULATED,
    INFERENCE_GAPS,
    POSTERIOR_PIT,
    SBC,
    GuideCheck,
    Report,
    check_guide,
)
from ppl_vae.diagnostics.latents import ACTIVE_UNITS, AGGREGATED_POSTERIOR
from ppl_vae.diagnostics.model import PREDICTIVE_CHECK, PREDICTIVE_CHECK_DATUM
from ppl_vae.diagnostics.posterior import HMC, QUADRATURE_POSTERIOR
from ppl_vae.diagnostics.report import markdown, overall, short
from ppl_vae.diagnostics.results import is_tree, to_arviz, with_results
from ppl_vae.isolation import isolated
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["DIAGNOSTICS", "Diagnosis", "diagnose"]

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    SBC,
    COVERAGE_SIMULATED,
    INFERENCE_GAPS,
    COMPARE_POSTERIORS,
    POSTERIOR_PIT,
    COVERAGE_REAL,
    HMC,
    QUADRATURE_POSTERIOR,
    AIS_GUIDE,
    AIS_PRIOR,
    ACTIVE_UNITS,
    AGGREGATED_POSTERIOR,
    PREDICTIVE_CHECK,
    PREDICTIVE_CHECK_DATUM,
    NEXT_STEP,
)
"""All diagnostics, in the order of the report; `diagnose` runs each after those in its `needs`."""


@verb
def diagnose(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    full: bool = False,
    method: str = "importance",
    num_samples: Count = 1000,
    subset: Count = 100,
    length: Count = 350,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
    diagnostics: Sequence[Diagnostic] = DIAGNOSTICS,
) -> Diagnosis:
    """Run all diagnostics of q(z | x): how far it is from p(z | x), for which data, and why.

    On all data: `check_guide`, `simulation_based_calibration`, `active_units`, `aggregated_posterior` and
    `posterior_predictive_check` of the population; where k-hat is high for some, what to run next, its cost and what it
    buys, measured on 20 of the data. If `full`, on a subset of the data, from the best to the worst
    fitted: `inference_gaps`, `hmc` (in one or two dimensions `quadrature_posterior` too) with `compare_posteriors` and
    `posterior_pit`, `ais` from the guide and from the prior, and the predictive check of each datum.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; x has two or more data, held out.
    full
        Whether to run the diagnostics that take seconds to minutes.
    method
        Of log p(x) in `check_guide`: ``"importance"`` or ``"adaptive"``, as in `evaluate`.
    num_samples
        Draws S per datum of `check_guide`, 25 or more.
    subset
        Number of data in the tree and in the full diagnosis.
    length
        Length of AIS and HMC, 50 or more: the number of temperatures from the prior, and half as many, but not below
        50, from q, which is closer. Up to 200 HMC warms up for as many transitions, and keeps as many; above, two
        fifths and half as many, but not below 200.
    diagnostics
        The diagnostics to run: a subset of `DIAGNOSTICS`, `Diagnostic` records of your own, or both.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        For fewer than two data, chains below 50 transitions, two diagnostics of the same name, and for whatever
        `check_guide` refuses. A diagnostic that raises is left out, with its message as the reason.
    TypeError
        For a program that is no module with `.model` and `.guide`, for data that are no tensor or `Split`, and for a
        diagnostic whose result is no dataset or tree.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> found = diagnose(build(digits, latent_dim=2, seed=0), digits.test, num_samples=100, seed=0)
    >>> sorted(found.results)[:2]
    ['active_units', 'aggregated_posterior']
    """
    split = Split.of(x, *context, mask=mask)
    if len(split) < 2:
        raise ValueError(
            f"diagnose expects 2 data or more, for their spread, got {len(split)}; give more, or call check_guide"
        )
    _check_names(diagnostics)
    if full and length < 50:
        raise ValueError(f"diagnose expects a length of 50 or more, got {length}; shorter chains say nothing")
    settings: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "max_rows": max_rows, "progress": progress}
    check = check_guide(program, split, method=method, **settings)
    seed = check.evaluation.seed
    split = split.fixed(seed)
    chosen = split[check.stratified(subset)]
    tree = to_arviz(program, chosen, num_samples=num_samples, seed=seed, max_rows=max_rows)
    subject = Subject(
        program=program,
        data=split,
        chosen=chosen,
        tree=tree,
        check=check.dataset.assign(known=("obs", check.known)),
        length=length,
        options={"seed": seed, "max_rows": max_rows, "progress": progress},
    )
    results, left_out = _run([one for one in diagnostics if full or not one.full], subject)
    return Diagnosis(check, subject, results, left_out, tuple(diagnostics))


def _run(diagnostics: Sequence[Diagnostic], subject: Subject) -> tuple[dict[str, Any], dict[str, str]]:
    """Results by name, run in order of `needs`, and the reasons why others were left out."""
    by_name = {one.name: one for one in diagnostics}
    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in TopologicalSorter({one.name: one.needs for one in diagnostics}).static_order():
        one = by_name.get(name)
        if one is None or not one.fits(subject):
            continue
        if one.needs and not any(needed in results for needed in one.needs):
            if one.question:
                left_out[name] = f"it needs a result of {' or '.join(one.needs)}, and there is none"
            continue
        try:
            with isolated(subject.program, subject.options["seed"]):  # one of the user's own may draw, or call Pyro
                result = one.run(subject, results)
        except (ValueError, RuntimeError, LookupError, ArithmeticError) as refusal:  # a program may raise anything
            left_out[name] = (str(refusal).splitlines() or [type(refusal).__name__])[0]
            continue
        _check_result(name, result)
        results[name] = result
    return results, left_out


def _check_result(name: str, result: Any) -> None:
    if not isinstance(result, xr.Dataset) and not is_tree(result):
        raise TypeError(
            f"the diagnostic {name!r} expects `run` to return an xarray.Dataset or an ArviZ tree, got "
            f"{type(result).__name__}; convert it: found.to_dataset()"
        )


def _check_names(diagnostics: Sequence[Diagnostic]) -> None:
    names = [one.name for one in diagnostics]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"diagnose expects diagnostics of different names, got {' and '.join(map(repr, sorted(twice)))} twice; "
            "leave one out, or rename it"
        )


@checked
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Result of `diagnose`.

    Attributes
    ----------
    check
        Result of `check_guide` on all data.
    subject
        The program and data diagnosed.
    results
        Result of each diagnostic, a dataset or a tree, by name.
    left_out
        Reason why a diagnostic has no result, by name.
    diagnostics
        The diagnostics requested.
    """

    check: GuideCheck
    subject: Subject
    results: Mapping[str, Any]
    left_out: Mapping[str, str]
    diagnostics: tuple[Diagnostic, ...] = DIAGNOSTICS

    @property
    def chosen(self) -> Split:
        """The data of the tree and of the full diagnosis, from the best to the worst fitted."""
        return self.subject.chosen

    @property
    def tree(self) -> Any:
        """Draws from q for `chosen`, as `to_arviz` returns them."""
        return self.subject.tree

    def __getitem__(self, name: str) -> Any:
        return self.results[name]

    def report(self, figures: Mapping[str, list[str]] | None = None) -> Report:
        """The diagnosis as Markdown, with links to `figures`, paths by name of the diagnostic."""
        return Report(markdown(self.diagnostics, self.check, self.subject, self.results, self.left_out, figures or {}))

    def in_short(self) -> Report:
        """The verdict, and one line per diagnostic."""
        first = overall(self.diagnostics, self.check, self.results, self.left_out).replace("**", "")
        lines = short(self.diagnostics, self.subject, self.results)
        return Report("\n".join([first, "", self.check.verdict(), "", *lines]))

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """All figures of the results, each with the name of its diagnostic; `ppl_vae.plots.draw` draws them."""
        for one in self.diagnostics:
            if one.name in self.results:
                for figure in one.drawn(self.subject, self.results):
                    yield one.name, figure

    def apart(self) -> dict[str, Any]:
        """Draws from p(z | x), each in a separate tree, as most functions of ArviZ take one posterior."""
        return {one.name: self[one.name] for one in self.diagnostics if one.apart and one.name in self.results}

    def to_arviz(self) -> Any:
        """Draws from q for `chosen` and all results in one tree, except the draws from p(z | x): see `apart`."""
        return with_results(self.tree, {name: r for name, r in self.results.items() if name not in self.apart()})

    def __repr__(self) -> str:
        return self.in_short()
