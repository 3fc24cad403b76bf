"""The main job: two likelihoods and two priors on scikit-learn's digits, from training to verdict."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    parser.option("--out", default="runs/demo", help="folder of the four runs; what is there is replaced")
    parser.option("--epochs", type=PositiveInt, default=100, help="passes over the data")
    parser.option("--num-samples", type=PositiveInt, default=1000, help="draws from q a datum")
    parser.option("--seed", type=int, default=0, help="of everything")


def _demo(options: Namespace) -> None:
    """Train, evaluate and diagnose each of the four, and print one table per likelihood."""
    from ppl_vae.cli.figures import draw, overview, save
    from ppl_vae.evaluation.compare import printed

    start, out = time.perf_counter(), Path(options.out)
    shown: dict[str, tuple[ppl_vae.VAE, ppl_vae.data.Split, ppl_vae.Evaluation]] = {}
    for likelihood in (ppl_vae.Bernoulli, ppl_vae.Gaussian):
        digits = ppl_vae.data.load("digits", likelihood=likelihood)
        print(f"\n{digits}")
        made = {
            f"{prior.__name__} x {likelihood.__name__}": _one(digits, prior, likelihood, out, options)
            for prior in (ppl_vae.StandardNormal, ppl_vae.VampPrior)
        }
        results = {name: result for name, (_, result) in made.items()}
        shown |= {name: (vae, digits.test, result) for name, (vae, result) in made.items()}
        table = ppl_vae.compare(results)
        measure = next(iter(results.values())).base_measure
        print(f"\n{likelihood.__name__}, a {measure}, {len(digits.test)} test data:")
        print(printed(table))
        save(draw("nll_with_errors", table), out / f"nll_{likelihood.__name__}.png")
    overview(shown, out / "overview.png", seed=options.seed)
    print(
        "\nThe two tables may not be ranked against each other: a Bernoulli gives binary data a mass, a Gaussian "
        "gives grey ones a density."
        f"\n{out / 'overview.png'} shows all four; diagnosis.md, figures and posterior.nc are in {out}, one "
        f"folder a run; {time.perf_counter() - start:.0f} s in all"
    )


def _one(
    digits: ppl_vae.data.Data,
    prior: type[ppl_vae.Prior],
    likelihood: type[ppl_vae.Likelihood],
    out: Path,
    options: Namespace,
) -> tuple[ppl_vae.VAE, ppl_vae.Evaluation]:
    from ppl_vae.checksums import record, weights_of
    from ppl_vae.cli.diagnosis import write_diagnosis
    from ppl_vae.cli.figures import figures
    from ppl_vae.training.lock import locked

    folder = out / f"{prior.__name__}-{likelihood.__name__}"
    with locked(folder, "demo"):  # no other process trains there
        pass
    shutil.rmtree(folder)
    vae = ppl_vae.build(digits, latent_dim=2, prior=prior, likelihood=likelihood, seed=options.seed)
    beta = ppl_vae.objectives.Linear(options.epochs / 10)
    fitted = ppl_vae.fit(vae, digits, epochs=options.epochs, beta=beta, seed=options.seed, run=folder)
    found = ppl_vae.diagnose(vae, digits.test, num_samples=options.num_samples, seed=options.seed)
    result = found.check.evaluation
    replace(result, weights=weights_of(folder)).save(folder / "evaluation.json")
    write_diagnosis(vae, found, folder)
    print(f"\n{found.check.report()}")
    names = list(figures(vae, digits.test, fitted.history, result, folder / "figures", seed=options.seed))
    record(folder, [name.relative_to(folder).as_posix() for name in names])
    return vae, result


COMMAND = Command(
    name="demo",
    about="train, evaluate and diagnose four VAEs on digits: two likelihoods, two priors",
    parser=_options,
    run=_demo,
)
