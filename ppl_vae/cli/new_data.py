"""New data on the command line: read, prepared as a run's training data were, and results written as they were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.components import Parser
from ppl_vae.cli.outputs import check_outputs
from ppl_vae.cli.stored_run import DEVICES, loaded
from ppl_vae.libraries import pd
from ppl_vae.progress import progress_bar

__all__ = ["add_new_data_options", "opened_with", "outputs", "parts", "read_like", "write"]


def add_new_data_options(parser: Parser) -> None:
    """The run folder, the file of new data, and the file to write."""
    parser.import_option()
    parser.add_argument("run", help="run folder")  # whose absence is said after that of the file
    parser.add_argument("file", help="new data, in the format of the training data or another of that kind")
    parser.option(
        "--out",
        type=str,
        required=True,
        help="file to write, with the ending of FILE (.npz for pictures and documents, and if wished for .npy)",
    )
    parser.option(
        "--levels", type=PositiveInt | None, help="number of grey levels, where they are not those of the training"
    )
    parser.option("--seed", type=int, default=0, help="of the draws")
    parser.option("--max-rows", type=PositiveInt, default=10_000, help="pairs of draw and datum decoded at once")
    parser.option("--device", offered=DEVICES, default="cpu", help="cpu, cuda or mps")


def opened_with(options: Namespace) -> tuple[ppl_vae.VAE, ppl_vae.data.Split]:
    """The VAE of a run, and the new data prepared for it."""
    from ppl_vae.data.images import pictures
    from ppl_vae.data.known_formats import format_of

    source, out = Path(options.file).expanduser(), Path(options.out)
    if not source.exists():
        raise FileNotFoundError(f"expected new data at {source}, got nothing there; correct the path")
    expected = (".npz",) if source.is_dir() else format_of(source).made_as or (source.suffix.lower(),)
    if out.suffix.lower() not in expected:
        raise ValueError(
            f"--out expects a file that ends in {' or '.join(expected)}, for new data in {source.name}, got {out}; "
            "change it"
        )
    run, vae = loaded(options)
    reads = [(None if source.is_dir() else source, "that of the new data")]
    files = outputs(options).values() if (run.config["data"][0] or {}).get("columns") else [out]
    check_outputs("--out", files, [run.path], reads=reads)
    _check_levels(options.levels, run)
    trained, width = run.config["data"][0] or {}, run.config["recipe"]["x_shape"][-1]
    raw: Any = pictures(source, size=_size(run)).x if source.is_dir() else read_like(source, trained, width)
    domain = None if options.levels is None else ppl_vae.Domain("levels", options.levels)
    return vae, run.prepare(raw, domain=domain, seed=options.seed)


def _check_levels(levels: int | None, run: ppl_vae.Run) -> None:
    """Refuse `--levels` where it would change nothing."""
    source, recipe = run.config["data"][0] or {}, run.config["recipe"] or {}
    if levels is None:
        return
    if columns := source.get("columns"):
        raise ValueError(
            f"--levels expects pictures of grey levels, got it for a table of {len(columns)} columns; leave it out"
        )
    binarized = any(step["transform"] == "binarize" for step in source.get("transforms", []))
    known = recipe.get("domain", {}).get("levels")
    if not binarized and levels != known:
        own = f"{known} grey levels" if isinstance(known, int) else "values that are no grey levels"
        raise ValueError(
            f"--levels expects the pictures of a run that is binarized, got {levels} for one that is not, of {own}; "
            "leave it out, and give pictures as those of the training"
        )


def outputs(options: Namespace) -> dict[int | None, Path]:
    """The file of the results of a table, and those of draws by their number, where draws are asked for."""
    out = Path(options.out)
    draws = range(getattr(options, "num_draws", 0))
    return {None: out} | {draw: out.with_name(f"{out.stem}_{draw + 1}{out.suffix}") for draw in draws}


def read_like(source: Path, provenance: Mapping[str, Any], width: int = 0) -> Any:
    """A file as the training data were read: what was text there is text here, whatever rows the file has."""
    from ppl_vae.data.columns import Columns
    from ppl_vae.data.known_formats import format_of

    conditions = [one["column"] for several in provenance.get("conditions", []) for one in several]
    text = Columns.of([*provenance.get("columns", []), *conditions]).text
    how = format_of(source)
    (found,) = how.alike([how.read_like(source, text)], width=width)
    return found


def _size(run: ppl_vae.Run) -> tuple[int, int] | None:
    """The height and width that pictures of the training were cropped and scaled to."""
    size = (run.config["data"][0] or {}).get("read", {}).get("size")
    return size and (size[0], size[1])


def parts(split: ppl_vae.data.Split, what: str, size: int = 1000) -> Iterator[ppl_vae.data.Split]:
    """The data, some at a time, with a bar that says what is made of them."""
    with progress_bar(what, len(split)) as bar:
        for start in range(0, len(split), size):
            yield split[start : start + size]
            bar.update(min(size, len(split) - start))


def write(options: Namespace, made: pd.DataFrame | dict[str, Any]) -> None:
    """Write a frame, or arrays (n, ...) by name, the most important one first, and say so."""
    from ppl_vae.data.known_formats import format_of

    out, source = Path(options.out), Path(options.file).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    left = format_of(out).write(out, made, source)
    print(f"wrote {out}" + (f", which {left}" if left else ""))
