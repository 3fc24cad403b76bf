"""Every question about q(z | x) in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from torch import Tensor

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Subject
from ppl_vae.diagnostics.evidence import AIS_GUIDE, AIS_PRIOR
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
from ppl_vae.diagnostics.results import to_arviz, with_results
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
)
"""All diagnostics, in the order of the report; `diagnose` runs each after those that it needs."""


@verb
def diagnose(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    full: bool = False,
    num_samples: Count = 1000,
    subset: Count = 100,
    length: Count = 500,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
    diagnostics: Sequence[Diagnostic] = DIAGNOSTICS,
) -> Diagnosis:
    """How far q(z | x) is from p(z | x), for which data, why, and what that means for every number that uses q.

    On all data: `check_guide`, `simulation_based_calibration`, `active_units`, `aggregated_posterior` and
    `posterior_predictive_check` of the population. If `full`, on some of the data, from the best to the worst
    fitted: `inference_gaps`, `hmc` (in one or two dimensions `quadrature_posterior` too) with `compare_posteriors` and
    `posterior_pit`, `ais` from the guide and from the
    prior, and the predictive check of each datum.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; x has two or more data, held out.
    full
        Whether to run what takes seconds or minutes.
    num_samples
        Draws S a datum of `check_guide`, 25 or more.
    subset
        Number of data that the tree holds, and that the full diagnosis looks at.
    length
        How long HMC and AIS run, 50 or more: transitions in warm-up and again after it, and temperatures.
    diagnostics
        What to run: some of `DIAGNOSTICS`, or those and a `Diagnostic` of your own.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError
        For fewer than two data or too short chains, and for whatever `check_guide` refuses. A diagnostic that refuses
        this program is left out, with its reason.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

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
    if full and length < 50:
        raise ValueError(f"diagnose expects a length of 50 or more, got {length}; shorter chains say nothing")
    check = check_guide(program, split, num_samples=num_samples, seed=seed, max_rows=max_rows, progress=progress)
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
    """Results by name, each after those that it needs, and the reasons why others were left out."""
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
            results[name] = one.run(subject, results)
        except (ValueError, RuntimeError, LookupError, ArithmeticError) as refusal:  # a program may raise anything
            left_out[name] = (str(refusal).splitlines() or [type(refusal).__name__])[0]
    return results, left_out


@checked
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    check
        Of all data: how far q is, and whether that can be believed.
    subject
        What was diagnosed.
    results
        What each diagnostic returned, a dataset or a tree, by its name.
    left_out
        Why a diagnostic was not made, by its name.
    diagnostics
        What was asked for.
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
        """Their draws from q, as `to_arviz` makes it."""
        return self.subject.tree

    def __getitem__(self, name: str) -> Any:
        return self.results[name]

    def report(self, figures: Mapping[str, list[str]] | None = None) -> Report:
        """The diagnosis in words, as Markdown, with paths of figures by diagnostic where there are any."""
        return Report(markdown(self.diagnostics, self.check, self.subject, self.results, self.left_out, figures or {}))

    def in_short(self) -> Report:
        """The verdict, and a line for each diagnostic."""
        first = overall(self.diagnostics, self.check, self.results, self.left_out).replace("**", "")
        lines = short(self.diagnostics, self.subject, self.results)
        return Report("\n".join([first, "", self.check.verdict(), "", *lines]))

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Every figure that the results allow, with the name of its diagnostic."""
        for one in self.diagnostics:
            if one.name in self.results:
                for figure in one.figures(self.subject, self.results):
                    yield one.name, figure

    def apart(self) -> dict[str, Any]:
        """Draws from p(z | x), each a tree of its own, as most of ArviZ looks at one posterior."""
        return {one.name: self[one.name] for one in self.diagnostics if one.apart and one.name in self.results}

    def to_arviz(self) -> Any:
        """Draws from q of the chosen data and every result, in one tree; the draws from p(z | x) are trees apart."""
        return with_results(self.tree, {name: r for name, r in self.results.items() if name not in self.apart()})

    def __repr__(self) -> str:
        return self.in_short()
