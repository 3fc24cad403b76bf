"""The encoder or the decoder of a stored run as a file for other programs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.outputs import check_outputs, lies_in, noted
from ppl_vae.cli.source import literal
from ppl_vae.cli.stored_run import add_run, locked_folder

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    parser.import_option()
    add_run(parser)
    halves, formats = (literal("ppl_vae.vae.exported", name) for name in ("Half", "Format"))
    parser.option("--part", names=halves, default="encoder", help="encoder or decoder")
    about = "pt2, which torch.export reads, or onnx (as the name of --out ends)"
    parser.option("--format", names=formats, help=about)
    add_json(parser)
    parser.option("--out", type=str | None, help="file to write (PART.FORMAT in the run folder)")


def _export(options: Namespace) -> None:
    """Write the file, and say how to read it."""
    from ppl_vae.vae.exported import format_of

    inside = options.out is None or lies_in(options.run, options.out)
    with as_json(options.json) as values, locked_folder(options.run, "export") if inside else nullcontext():
        run = ppl_vae.load(options.run, options.classes)
        if not isinstance(run.vae, ppl_vae.VAE):
            raise ValueError("export expects a run of a VAE, got another; export your own networks with torch.export")
        format = format_of(Path(options.out or ""), options.format)
        name = f"{options.part}.{format}"
        out = Path(options.out or run.path / name)
        check_outputs("--out", [out], [run.path], own=[name])
        run.vae.export(out, options.part, format)
        noted(run.path, out, [name])
        contexts = [f"context_{i}" for i in range(len(run.config["recipe"]["context"]))]
        given = ["x" if options.part == "encoder" else "z", *contexts]
        pt2 = f'torch.export.load("{out}").module()({", ".join(given)})'
        read = pt2 if format == "pt2" else f'onnxruntime.InferenceSession("{out}")'
        print(f"wrote {out}; it gives mean and scale without ppl_vae: {read}")
        values.update(run=run.path, part=options.part, format=format, inputs=given, wrote=[out])


COMMAND = Command(
    name="export",
    about="the encoder or the decoder of a run as a file for torch.export or ONNX Runtime",
    parser=_options,
    run=_export,
    after="ppl-vae diagnose {run}",
)
