"""Every question about q(z | x) in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.diagnostics.evidence import ais
from ppl_vae.diagnostics.guide import (
    GuideCheck,
    Report,
    check_guide,
    compare_posteriors,
    coverage,
    inference_gaps,
    posterior_pit,
    simulation_based_calibration,
)
from ppl_vae.diagnostics.latents import active_units, aggregated_posterior
from ppl_vae.diagnostics.model import posterior_predictive_check
from ppl_vae.diagnostics.posterior import hmc, quadrature_posterior
from ppl_vae.diagnostics.results import group, to_arviz, with_results
from ppl_vae.diagnostics.words import in_short, overall, written
from ppl_vae.split import Split

__all__ = ["APART", "Diagnosis", "diagnose"]

APART = (
    "hmc",
    "quadrature_posterior",
)  # draws from p(z | x), each a tree of its own: most of ArviZ looks at one posterior


@verb
def diagnose(
    program: nn.Module,
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
) -> Diagnosis:
    """How far q(z | x) is from p(z | x), for which data, why, and what that means for every number that uses q.

    On all data: `check_guide`, `simulation_based_calibration`, `active_units`, `aggregated_posterior` and
    `posterior_predictive_check` of the population. If `full`, on some of the data, from the best to the worst
    fitted: `inference_gaps`, `hmc` (in one or two dimensions `quadrature_posterior` too) with `compare_posteriors` and
    `posterior_pit`, `ais` from the guide and from the
    prior, and the predictive check of each datum.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`; at least two data, held out.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    full
        Whether to run what takes seconds or minutes.
    num_samples
        Draws S a datum of `check_guide`, 25 or more.
    subset
        Number of data that the tree holds, and that the full diagnosis looks at.
    length
        How long HMC and AIS run, 50 or more: transitions in warm-up and again after it, and temperatures.
    seed
        Seed of every diagnostic; fresh entropy, recorded, if `None`.
    max_rows
        Pairs of draw and datum decoded at once; bounds the memory.
    progress
        Show progress bars, where there is a terminal.

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
    call: dict[str, Any] = {"seed": seed, "max_rows": max_rows, "progress": progress}
    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}

    def run(name: str, f: Callable[[], Any]) -> None:
        try:
            results[name] = f()
        except (ValueError, RuntimeError, LookupError, ArithmeticError) as refusal:  # a program may raise anything
            left_out[name] = (str(refusal).splitlines() or [type(refusal).__name__])[0]

    run("simulation_based_calibration", lambda: simulation_based_calibration(program, split, **call))
    run("active_units", lambda: active_units(program, split, **call))
    run("aggregated_posterior", lambda: aggregated_posterior(program, split, **call))
    run("predictive_check", lambda: posterior_predictive_check(program, split, num_replicates=200, **call))
    if full:
        run("inference_gaps", lambda: inference_gaps(program, chosen, **call))
        run("ais_guide", lambda: ais(program, chosen, init="guide", num_temperatures=length, **call))
        run("ais_prior", lambda: ais(program, chosen, init="prior", num_temperatures=length, **call))
        run("hmc", lambda: hmc(program, chosen, num_warmup=length, num_samples=length, **call))
        run("predictive_check_datum", lambda: posterior_predictive_check(program, chosen, level="datum", **call))
    if full and _num_units(tree) <= 2:
        run("quadrature_posterior", lambda: quadrature_posterior(program, chosen, **call))
    reference = results.get("quadrature_posterior", results.get("hmc"))
    if reference is not None:
        run("compare_posteriors", lambda: compare_posteriors(tree, reference))
        run("posterior_pit", lambda: posterior_pit(tree, reference, seed=seed))
    for name in ("simulation_based_calibration", "posterior_pit"):
        if name in results:
            results[f"coverage_{name}"] = coverage(results[name])
    return Diagnosis(check, chosen, tree, results, left_out)


def _num_units(tree: Any) -> int:
    """Latent units of a datum, over all sites."""
    return sum(z[0, 0, 0].size for z in group(tree, "posterior").values())


@checked
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` found.

    Attributes
    ----------
    check
        Of all data: how far q is, and whether that can be believed.
    chosen
        The data of the tree and of the full diagnosis, from the best to the worst fitted.
    tree
        Their draws from q, as `to_arviz` makes it.
    results
        What each diagnostic returned, a dataset or a tree, by its name.
    left_out
        Why a diagnostic was not made, by its name.
    """

    check: GuideCheck
    chosen: Split
    tree: Any
    results: Mapping[str, Any]
    left_out: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        return self.results[name]

    def report(self, figures: Mapping[str, list[str]] | None = None) -> Report:
        """The diagnosis in words, as Markdown, with paths of figures by diagnostic where there are any."""
        return Report(written(self.check, self.results, self.left_out, figures or {}))

    def in_short(self) -> Report:
        """The verdict, and a line for each diagnostic."""
        first = overall(self.check, self.results, self.left_out).replace("**", "")
        return Report("\n".join([first, "", self.check.verdict(), "", *in_short(self.check, self.results)]))

    def to_arviz(self) -> Any:
        """Draws from q of the chosen data and every result, in one tree; the draws from p(z | x) are a tree apart."""
        return with_results(self.tree, {name: r for name, r in self.results.items() if name not in APART})

    def __repr__(self) -> str:
        return self.in_short()
