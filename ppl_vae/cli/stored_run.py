"""A stored run on the command line: the options that name it, and what they open."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.components import Parser
from ppl_vae.cli.source import listed

__all__ = [
    "ABOUT_DATA_DIR",
    "DATA_SETS",
    "DEVICES",
    "add_method",
    "add_run",
    "add_run_options",
    "add_split_options",
    "data_of",
    "loaded",
    "locked_folder",
    "opened",
    "split_of",
]

DATA_SETS = sorted(
    name for module in ("known_factors", "small_sets", "torchvision_sets") for name in listed(f"ppl_vae.data.{module}")
)
"""The names of `ppl_vae.data.NAMES`."""

ABOUT_DATA_DIR = "folder of data sets ($PPL_VAE_DATA or the cache)"

DEVICES = ("cpu", "cuda", "mps")


def add_run(parser: Parser) -> None:
    """The run folder."""
    parser.add_argument("run", help="run folder")
    parser.of_run = True


def add_run_options(parser: Parser, *, several: bool = False) -> None:
    """The run folder, or several as `runs`, the data, a seed and a device."""
    parser.import_option()
    if several:
        parser.add_argument("runs", nargs="+", help="run folders")
    else:
        add_run(parser)
    parser.option("--data", type=str | None, help="path of the data, if it is not what it was in training")
    parser.option("--data-dir", type=str | None, help=ABOUT_DATA_DIR)
    parser.option("--seed", type=int, default=0, help="of the draws")
    parser.option("--device", offered=DEVICES, default="cpu", help="cpu, cuda or mps")


def add_split_options(parser: Parser, take: int | None = None, *, several: bool = False) -> None:
    """As `add_run_options`, and which split, how much of it, and how many draws."""
    add_run_options(parser, several=several)
    parser.option(
        "--split", names=listed("ppl_vae.data.steps", "ROLES"), default="test", help="train, validation or test"
    )
    parser.option("--take", type=int | None, least=1, default=take, help="only the first so many data")
    parser.option("--num-samples", type=int, least=1, default=1000, help="draws from q a datum")
    parser.option("--max-rows", type=int, least=1, default=10_000, help="pairs of draw and datum decoded at once")


def add_method(parser: Parser) -> None:
    """How log p(x) is estimated."""
    about = "of log p(x): importance, or adaptive, which costs some five times as much where k-hat is high"
    parser.option("--method", names=listed("ppl_vae.evaluation.adaptive", "METHODS"), default="importance", help=about)


def locked_folder(run: str, command: str) -> AbstractContextManager[object]:
    """A scope that locks a run folder; where there is no run, loading it raises."""
    from ppl_vae.training.lock import locked
    from ppl_vae.training.run_folder import folder_path

    folder = folder_path(run, command)
    return locked(folder, command) if (folder / "checkpoint.json").is_file() else nullcontext()


def opened(options: Namespace) -> tuple[ppl_vae.Run, ppl_vae.VAE, ppl_vae.data.Split]:
    """A run, its VAE and the split of its data that is asked for."""
    run, vae = loaded(options)
    return run, vae, split_of(run, options)[: options.take]


def loaded(options: Namespace) -> tuple[ppl_vae.Run, ppl_vae.VAE]:
    """A run and its VAE."""
    run = ppl_vae.load(options.run, options.classes, device=options.device)
    if not isinstance(run.vae, ppl_vae.VAE):
        raise ValueError("this command expects a run of a VAE, got another; load the run in Python")
    return run, run.vae


def split_of(run: ppl_vae.Run, options: Namespace) -> ppl_vae.data.Split:
    """The split of the run's data that is asked for."""
    found = data_of(run, options)
    return found.splits[getattr(options, "split", "test")].fixed(options.seed)


def data_of(run: ppl_vae.Run, options: Namespace) -> ppl_vae.data.Data:
    """The data of a run, loaded again."""
    if "checksum" not in (run.config["data"][0] or {}):
        raise ValueError("this command expects a run of data in memory, got another; load the run in Python")
    return ppl_vae.data.again(run.config["data"][0], name=options.data, data_dir=options.data_dir)
