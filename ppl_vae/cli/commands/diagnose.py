"""Diagnose the posterior of a stored run."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json, numbers
from ppl_vae.cli.stored_run import add_method, add_split_options, locked_folder, opened

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_split_options(parser, take=1000)
    add_method(parser)
    add_json(parser)
    parser.option("--full", type=bool, default=False, help="also what takes minutes: HMC, AIS, inference gaps")
    about = "how long --full samples: temperatures of AIS; transitions of HMC grow with it"
    parser.option("--length", type=int | None, help=f"{about} (350)")
    parser.option(
        "--subset", type=int, default=100, help="data of --full and of posterior.nc, from best to worst fitted"
    )


def _diagnose(options: Namespace) -> None:
    """Write the report, its trees and its figures, and print the verdict."""
    from ppl_vae.checksums import record
    from ppl_vae.cli.figures import figures

    if options.length is not None and not options.full:
        raise ValueError(
            "--length expects --full, whose AIS and HMC it lengthens, got it alone; add --full, or omit it"
        )
    with as_json(options.json) as values, locked_folder(options.run, "diagnose"):
        run, vae, split = opened(options)
        first = ppl_vae.evaluate(vae, split[:1], num_samples=2, seed=options.seed, progress=False)
        if "log_px" not in first.per_datum or first.one_code:  # q has no spread that could be judged
            result = ppl_vae.evaluate(
                vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows
            )
            print(f"{result}\n  without a spread of q there is no more to diagnose: figures only")
            after = f"{on_run('report', run.path)}{options.imports}"
        else:
            found = _diagnosed(run.path, vae, split, options)
            result = found.check.evaluation
            values.update(verdict=found.in_short().partition("\n")[0], check=str(found.check.verdict()))
            values.update(ran=list(found.results), left_out=found.left_out)
            compare = f"{on_run('compare', run.path)} OTHER{options.imports}"
            after = f"read {run.path / 'diagnosis.md'}, or {compare}"
        names = list(figures(vae, split, run.history, result, run.path / "figures", seed=options.seed))
        record(run.path, [name.relative_to(run.path).as_posix() for name in names])
        values.update(run=run.path, **numbers(result), figures=names)
        print("\n".join([*(f"wrote {name}" for name in names), f"next: {after}"]))


def _diagnosed(
    folder: Path, vae: ppl_vae.VAE, split: ppl_vae.data.Split, options: Namespace
) -> ppl_vae.diagnostics.Diagnosis:
    from ppl_vae.cli.diagnosis import write_diagnosis

    found = ppl_vae.diagnose(
        vae,
        split,
        full=options.full,
        subset=options.subset,
        length=350 if options.length is None else options.length,
        method=options.method,
        num_samples=options.num_samples,
        seed=options.seed,
        max_rows=options.max_rows,
    )
    print(write_diagnosis(vae, found, folder))
    for name, reason in found.left_out.items():
        print(f"left out {name}: {reason}")
    return found


COMMAND = Command(
    name="diagnose",
    about="a verdict on q(z | x) for each datum, the ArviZ tree and the figures of a run",
    parser=_options,
    run=_diagnose,
)
