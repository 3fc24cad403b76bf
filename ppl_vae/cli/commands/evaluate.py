"""Evaluate a stored run."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json, numbers
from ppl_vae.cli.stored_run import add_method, add_split_options, locked_folder, opened
from ppl_vae.files import written

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_split_options(parser)
    add_method(parser)
    about = "of a table also the NLL of each column given the others, at one evaluation for each"
    parser.option("--per-column", type=bool, default=False, help=about)
    about = "bf16 for products in bfloat16; the result says how far log p(x) is from float32"
    parser.option("--precision", names=("bf16",), help=about)
    about = "compile the model: true, false, or auto, where the scores to come take a minute"
    parser.option("--compile", type=Literal["auto"] | bool, default=False, help=about)
    parser.option("--threads", type=PositiveInt | None, help="of this process (OMP_NUM_THREADS, or all cores)")
    add_json(parser)


def _evaluate(options: Namespace) -> None:
    """Evaluate on a split, and write `evaluation.json`, and `per_column.csv` where it is asked for.

    Under `torchrun` several processes evaluate, of which the first writes.
    """
    from ppl_vae.checksums import weights_of
    from ppl_vae.group import launched
    from ppl_vae.isolation import using_threads

    if options.per_column and options.precision:
        raise ValueError(
            "--precision bf16 expects no --per-column, whose NLL of columns is computed in float32; give one of them"
        )
    with (
        launched() as first,
        using_threads(options.threads),
        locked_folder(options.run, "evaluate") if first else nullcontext(),
    ):
        run, vae, split = opened(options)
        names = ("method", "num_samples", "seed", "max_rows", "compile")
        settings = {name: getattr(options, name) for name in names}
        each = ppl_vae.evaluation.per_column(vae, split, **settings) if options.per_column else None
        result = ppl_vae.evaluate(vae, split, precision=options.precision, **settings)
        if not first:
            return
        replace(result, weights=weights_of(run.path)).save(run.path / "evaluation.json")
        wrote = [run.path / "evaluation.json"]
        if each is not None:
            wrote.append(run.path / "per_column.csv")
            with written(wrote[-1]) as temporary:
                each.to_csv(temporary)
    with as_json(options.json) as values:
        print(result)
        if each is not None:
            print(
                f"\nNLL of each column given the others, nats per datum\n{each.to_string(float_format='{:.3f}'.format)}"
            )
            values.update(per_column=each.to_dict("index"))
        after = f"next: {on_run('diagnose', run.path)}{options.imports}"
        print(f"wrote {' and '.join(map(str, wrote))}\n{after}")
        values.update(run=run.path, **numbers(result), wrote=wrote)


COMMAND = Command(
    name="evaluate",
    about="bounds and log p(x) of a run on its test data, with error bars",
    parser=_options,
    run=_evaluate,
)
