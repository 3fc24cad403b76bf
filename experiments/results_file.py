"""The results file of a script: where it goes, the command that made it, and the versions it was made with."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import ppl_vae

if TYPE_CHECKING:  # some scripts measure the memory of what they import
    from matplotlib.figure import Figure

__all__ = [
    "add_images_and_model",
    "add_outputs",
    "command",
    "draw",
    "kept",
    "parser_of",
    "processor",
    "settings_of",
    "versions",
    "write",
]

_OF_FILES = {"data_dir", "cache", "figure", "out"}


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of a script."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def processor() -> str:
    """The name of the processor, where the system says it; else its kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()} {named}".strip()


def add_outputs(parser: argparse.ArgumentParser, figure: str | None = None) -> None:
    """The options `--out`, and `--figure` for what it shows."""
    if figure is not None:
        parser.add_argument("--figure", type=Path, help=f"write the {figure} here, as PNG")
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")


def add_images_and_model(
    parser: argparse.ArgumentParser, *, epochs: int, take: int, kept: str, seeds: Sequence[int] = ()
) -> None:
    """The options of a small model of images: how many of them, its size, and the folder of what was computed.

    With `seeds` these are several.
    """
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=epochs, help="of the training that all share")
    parser.add_argument("--train", type=int, default=5000, help="training images")
    parser.add_argument("--validation", type=int, default=200, help="validation images")
    parser.add_argument("--take", type=int, default=take, help="test images")
    parser.add_argument("--latent-dim", type=int, default=20)
    parser.add_argument("--hidden-dim", type=int, default=200, help="width of the layer of each network")
    if seeds:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    else:
        parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, required=True, help=f"folder in which {kept} are kept")


def settings_of(args: argparse.Namespace, *left_out: str) -> dict[str, Any]:
    """The options that decide on a result: all but those of files and those that only say which results."""
    return {name: value for name, value in vars(args).items() if name not in {*_OF_FILES, *left_out}}


def kept(folder: Path | None, name: str, settings: dict[str, Any], make: Callable[[], Any]) -> Any:
    """What was found with the same settings, from its file in the folder; else what is found now, and stored there.

    Without a folder nothing is stored. What an earlier form of a script left there is computed anew.
    """
    if folder is None:
        return make()
    file = folder / f"{name.replace(' ', '_').replace(',', '')}.json"
    if file.exists():
        stored = json.loads(file.read_text())
        if stored.get("settings") == settings and "found" in stored:
            return stored["found"]
    found = make()
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"settings": settings, "found": found}))
    print(f"{file.stem}: done", flush=True)
    return found


def command(script: str, argv: Sequence[str] | None) -> str:
    """The command line of a script of this folder, or of one of its folders."""
    name = Path(script).resolve().relative_to(Path(__file__).resolve().parents[1])
    return shlex.join(["python", name.as_posix(), *(sys.argv[1:] if argv is None else argv)])


def versions(*others: str) -> dict[str, str]:
    """Of Python, `ppl_vae`, torch and other packages, some of which may not be installed."""
    always = {"python": platform.python_version(), "ppl_vae": ppl_vae.__version__, "torch": torch.__version__}
    return always | {name: _version(name) for name in others}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write(found: dict[str, Any], out: Path | None) -> None:
    """Results as JSON; nothing where there is no `--out`."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n")


def draw(figure: Figure, file: Path, dpi: float) -> None:
    """A figure as PNG, in a folder that may not exist yet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=dpi)
