"""Fit another prior to the encodings of a stored run."""

from __future__ import annotations

from operator import attrgetter

from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat

import ppl_vae
from ppl_vae.cli.chosen import part
from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.stored_run import add_run_options, data_of, loaded

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_run_options(parser)
    parser.component("ppl_vae.priors:Prior", "prior", "p(z)", skip=attrgetter("linked"))
    parser.option("--epochs", type=int, least=1, default=100, help="passes over the data")
    parser.option("--batch-size", type=int, least=1, default=128, help="data a batch")
    parser.option("--learning-rate", type=PositiveFloat, default=1e-2, help="peak of Adam's one-cycle schedule")
    parser.option(
        "--patience", type=int | None, help="stop after so many epochs without a better validation likelihood"
    )
    add_json(parser)
    parser.option("--out", type=str, required=True, help="folder of the new run")


def _fit_prior(options: Namespace) -> None:
    """Fit another prior to the encodings of a run's training data, and store the whole as a run of its own."""
    with as_json(options.json) as values:
        made = _fitted(options)
        after = f"next: {on_run('sample', options.out)}{options.imports}"
        print(f"{made.formula()}\nwrote {options.out}; {after}")
        values.update(run=options.out, formula=made.formula())


def _fitted(options: Namespace) -> ppl_vae.VAE:
    run, vae = loaded(options)
    return ppl_vae.fit_prior(
        vae,
        data_of(run, options),
        part(options.prior),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        patience=options.patience,
        seed=options.seed,
        run=options.out,
    )


COMMAND = Command(
    name="fit-prior",
    about="another prior fitted to the encodings of a run, as a run of its own: what an autoencoder samples by",
    parser=_options,
    run=_fit_prior,
    defaults={"prior": "GaussianMixture"},
)
