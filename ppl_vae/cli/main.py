"""Parsers: what can be said on the command line, or in a YAML file."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser, Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from pyro.infer import ELBO

from ppl_vae import data
from ppl_vae.cli import commands
from ppl_vae.cli.components import Parser, add_component, allow_imports, import_file
from ppl_vae.cli.demo import demo
from ppl_vae.cli.failures import did_you_mean, failure, told_in_one_line
from ppl_vae.cli.manifold import manifold
from ppl_vae.cli.reading import bound_values, refuse_endless
from ppl_vae.corruptions import Corruption
from ppl_vae.likelihoods import Likelihood
from ppl_vae.manifold.methods import methods
from ppl_vae.nets import Network
from ppl_vae.objectives import BetaSchedule
from ppl_vae.posteriors import Posterior
from ppl_vae.priors import Prior

__all__ = ["main"]

_COMPONENTS = {
    "prior": "StandardNormal",
    "posterior": "DiagonalNormal",
    "encoder": "MLP",
    "decoder": "MLP",
    "objective": "Trace_ELBO",
    "beta": "Constant",
}
"""Components, and the class where none is chosen; the likelihood is the usual one of the data."""

_CHOSEN = {"train": _COMPONENTS, "fit-prior": {"prior": "GaussianMixture"}}

_ABOUT = {
    "train": "train a VAE and store the run",
    "evaluate": "bounds and log p(x) of a run on its test data, with error bars",
    "diagnose": "a verdict on q(z | x) for each datum, the ArviZ tree and the figures of a run",
    "sample": "new data from a run",
    "fit-prior": "another prior fitted to the encodings of a run, as a run of its own: what an autoencoder samples by",
    "compare": "several runs in one table",
    "demo": "train, evaluate and diagnose four VAEs on digits: two likelihoods, two priors",
    "manifold": "PCA, Isomap, t-SNE and others beside autoencoder and VAE: one table, one figure a data set",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 for what the user can mend, 2 for a command line that cannot be read."""
    words = list(sys.argv[1:] if argv is None else argv)
    given = [word for word in words if word != "--traceback"]
    if not given or given[0] not in _ABOUT:
        return _overview(given)
    command, rest = given[0], given[1:]
    try:
        with told_in_one_line(command):
            return _run(command, rest)
    except KeyboardInterrupt:
        print(f"ppl-vae {command}: interrupted; a training goes on from its last epoch with --resume", file=sys.stderr)
        return 130
    except SystemExit:
        raise
    except BaseException as error:  # whatever its class, it is one line
        print(failure(command, rest, error), file=sys.stderr)
        if len(given) < len(words):
            traceback.print_exc()
        return 1


def _run(command: str, words: list[str]) -> int:
    refuse_endless(words, ["config", *_COMPONENTS, "likelihood", "corruption"])
    words, classes = _imported(words)
    parser, chosen = _parsed(command, words)
    chosen.classes, chosen.yaml = classes, parser.dump(chosen)
    return _RUN[command](chosen) or 0


def _parsed(command: str, words: list[str]) -> tuple[ArgumentParser, Namespace]:
    """What the words say, and the parser that read them.

    A default class would lend its arguments to the class that is chosen instead, IWAE the one particle of
    Trace_ELBO. So a first reading finds what is chosen, and the second one has the other defaults only.
    """
    parser = _PARSERS[command]()
    if usual := _CHOSEN.get(command):
        parser.set_defaults({name: {"class_path": cls} for name, cls in usual.items()})
        first = parser.parse_args([word for word in words if not word.startswith("--print-config")])
        same = {n: c for n, c in usual.items() if first[n] and first[n].class_path.rpartition(".")[2] == c}
        parser = _PARSERS[command]()
        parser.set_defaults({name: {"class_path": cls} for name, cls in same.items()})
    return parser, parser.parse_args(words)


def _overview(words: Sequence[str]) -> int:
    if words == ["--version"]:
        print(f"ppl-vae {version('ppl_vae')}")
        return 0
    known = words in ([], ["-h"], ["--help"])
    if not known:
        near = did_you_mean(words[0], _ABOUT) or "`ppl-vae --help` tells of them"
        print(f"ppl-vae: expects one of {', '.join(_ABOUT)}, got {words[0]!r}; {near}", file=sys.stderr)
        return 2
    print("usage: ppl-vae COMMAND [options]\n\nVariational autoencoders as Pyro model and guide.\n")
    print("\n".join(f"  {name:<10}{about}" for name, about in _ABOUT.items()))
    print("\n`ppl-vae COMMAND --help` lists the options of a command; with --traceback a failure shows where it arose.")
    return 0


def _imported(words: list[str]) -> tuple[list[str], list[type]]:
    """Carry out every `--import FILE`, and see that nothing else is imported; what is left, and the classes."""
    allow_imports("ppl_vae", "pyro.infer")
    bound_values()
    classes: list[type] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        if option == "--import":
            classes += import_file(value if equals else next(remaining, ""))
        else:
            rest.append(word)
    return rest, classes


def _parser(command: str) -> ArgumentParser:
    about = _ABOUT[command]
    prog = f"ppl-vae {command}"
    parser = Parser(prog=prog, description=f"{about}.", print_config="--print-%s", allow_abbrev=False)
    if command not in ("compare", "demo", "manifold"):
        parser.add_argument(
            "--import", metavar="FILE", help="Python file with classes of your own; read from the command line alone"
        )
    return parser


def _train() -> ArgumentParser:
    parser = _parser("train")
    parser.add_argument("--config", action="config", help="YAML file with these options")
    parser.add_argument("--data", default="digits", help=f"{', '.join(data.NAMES)}; or a .npy, .npz or picture folder")
    _add(parser, "--data-dir", type=str | None, help="folder of the data sets ($PPL_VAE_DATA, or the user's cache)")
    _add(parser, "--binarize", type=str | None, help="static, dynamic or threshold, where the likelihood is binary")
    _add(parser, "--conditional", type=bool, default=False, help="condition on the labels")
    _add(parser, "--take", type=int | None, help="only so many data of each split")
    _add(parser, "--download", type=bool, default=False, help="download missing data")
    about = "dimension of z; of a hierarchy that of each level, the top first: '[2, 8]'"
    _add(parser, "--latent-dim", type=int | list[int], default=8, help=about)
    add_component(parser, Prior, "prior")
    usual = " (Gaussian for real data, else Bernoulli)"
    add_component(parser, Likelihood, "likelihood", skip=["levels"], usual=usual)
    add_component(parser, Posterior, "posterior")
    add_component(parser, Network, "encoder")
    add_component(parser, Network, "decoder")
    add_component(parser, Corruption, "corruption", usual=" (none)")
    add_component(parser, ELBO, "objective", skip=_PYRO_ONLY)
    add_component(parser, BetaSchedule, "beta")
    _add(parser, "--epochs", type=int, default=100, help="passes over the data; with --resume, in all")
    _add(parser, "--batch-size", type=int, default=128, help="data a batch")
    _add(
        parser,
        "--learning-rate",
        type=PositiveFloat,
        default=1e-3,
        help="of Adam; where --one-cycle starts from",
    )
    _add(parser, "--one-cycle", type=float | None, help="peak of a one-cycle learning rate")
    _add(parser, "--clip-norm", type=float | None, help="largest norm of the gradient")
    _add(parser, "--patience", type=int | None, help="stop after so many epochs without a better validation ELBO")
    _add(parser, "--seed", type=int, default=0, help="of the weights and the training")
    _add(parser, "--data-seed", type=int, default=0, help="of splits and binarization; the same for runs to compare")
    _add(parser, "--device", default="auto", help="auto, cpu, cuda or mps")
    _add(parser, "--run", type=str | None, help="folder to write to (runs/DATA-PRIOR-LIKELIHOOD-POSTERIOR-SEED)")
    _add(parser, "--resume", type=bool, default=False, help="go on with the run of that folder")
    return parser


def _on_split(command: str, take: int | None = None) -> ArgumentParser:
    parser = _of_run(command)
    _add(parser, "--split", default="test", help="train, validation or test")
    _add(parser, "--take", type=int | None, default=take, help="only the first so many data")
    _add(parser, "--num-samples", type=int, default=1000, help="draws from q a datum")
    _add(parser, "--max-rows", type=int, default=10_000, help="pairs of draw and datum decoded at once")
    return parser


def _diagnose() -> ArgumentParser:
    parser = _on_split("diagnose", take=1000)
    _add(parser, "--full", type=bool, default=False, help="also what takes minutes: HMC, AIS, inference gaps")
    about = "how long --full samples: temperatures of AIS, transitions of HMC"
    _add(parser, "--length", type=int, default=500, help=about)
    _add(
        parser, "--subset", type=int, default=100, help="data of --full and of posterior.nc, from best to worst fitted"
    )
    return parser


def _sample() -> ArgumentParser:
    parser = _of_run("sample")
    _add(parser, "--num", type=int, default=64, help="how many")
    _add(parser, "--mean", type=bool, default=False, help="E[x | z] instead of draws of x")
    _add(parser, "--label", type=int | None, help="label to condition on, for a conditional run")
    _add(
        parser,
        "--out",
        type=str | None,
        help="file to write (RUN/samples.png, or .npy where the data are no images)",
    )
    return parser


def _fit_prior() -> ArgumentParser:
    parser = _of_run("fit-prior")
    add_component(parser, Prior, "prior")
    _add(parser, "--epochs", type=int, default=100, help="passes over the data")
    _add(parser, "--batch-size", type=int, default=128, help="data a batch")
    _add(parser, "--learning-rate", type=PositiveFloat, default=1e-2, help="peak of Adam's one-cycle schedule")
    _add(parser, "--patience", type=int | None, help="stop after so many epochs without a better validation likelihood")
    _add(parser, "--out", type=str, required=True, help="folder of the new run")
    return parser


def _compare() -> ArgumentParser:
    parser = _parser("compare")
    parser.add_argument("runs", nargs="+", help="run folders that `ppl-vae evaluate` has been over")
    _add(parser, "--figure", type=str | None, help="draw the table into this file")
    return parser


def _demo() -> ArgumentParser:
    parser = _parser("demo")
    _add(parser, "--out", default="runs/demo", help="folder of the four runs; what is there is replaced")
    _add(parser, "--epochs", type=PositiveInt, default=100, help="passes over the data")
    _add(parser, "--num-samples", type=PositiveInt, default=1000, help="draws from q a datum")
    _add(parser, "--seed", type=int, default=0, help="of everything")
    return parser


def _manifold() -> ArgumentParser:
    parser = _parser("manifold")
    about = f"any of {', '.join(data.NAMES)}; or .npy, .npz or picture folders"
    parser.add_argument("--data", nargs="+", default=["digits"], help=about)
    _add(parser, "--data-dir", type=str | None, help="folder of the data sets ($PPL_VAE_DATA, or the user's cache)")
    _add(parser, "--download", type=bool, default=False, help="download missing data")
    parser.add_argument("--methods", nargs="+", help=f"some of {', '.join(methods())} (all that fit the data)")
    _add(
        parser,
        "--seeds",
        type=PositiveInt,
        default=3,
        help="runs of each method, seeds from 0; the data are the same",
    )
    _add(parser, "--take", type=PositiveInt, default=5000, help="at most so many training data, the first")
    _add(parser, "--held-out", type=PositiveInt, default=1000, help="at most so many test data, the first")
    about = "gradient steps of the autoencoders, of 128 data each (2000, and 6000 for data of at most 10 columns)"
    _add(parser, "--steps", type=int | None, help=about)
    _add(parser, "--data-seed", type=int, default=0, help="of the split, where there is no official one")
    _add(parser, "--device", default="cpu", help="cpu or cuda, for the autoencoders")
    _add(parser, "--out", default="runs/manifold", help="folder for manifold.csv, manifold.md and manifold_DATA.png")
    return parser


def _of_run(command: str) -> ArgumentParser:
    parser = _parser(command)
    parser.add_argument("run", help="run folder")
    _add(parser, "--data", type=str | None, help="path of the data, if it is not what it was in training")
    _add(parser, "--data-dir", type=str | None, help="folder of the data sets ($PPL_VAE_DATA, or the user's cache)")
    _add(parser, "--seed", type=int, default=0, help="of the draws")
    _add(parser, "--device", default="cpu", help="cpu, cuda or mps")
    return parser


def _add(parser: ArgumentParser, name: str, **kwargs: Any) -> None:
    """An option that may be written with dashes or underscores, a pair of flags `--x`, `--no-x` if it is a bool."""
    aliases = dict.fromkeys([name, name.replace("-", "_").replace("__", "--")])
    if kwargs.get("type") is bool:
        kwargs = {k: v for k, v in kwargs.items() if k != "type"} | {"action": ActionYesNo(no_prefix="no-")}
    parser.add_argument(*aliases, **kwargs)


_PYRO_ONLY = [
    "max_plate_nesting",
    "max_iarange_nesting",
    "strict_enumeration_warning",
    "ignore_jit_warnings",
    "jit_options",
    "retain_graph",
    "tail_adaptive_beta",
]

_PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "train": _train,
    "evaluate": partial(_on_split, "evaluate"),
    "diagnose": _diagnose,
    "sample": _sample,
    "fit-prior": _fit_prior,
    "compare": _compare,
    "demo": _demo,
    "manifold": _manifold,
}

_RUN: dict[str, Callable[[Any], int | None]] = {
    "train": commands.train,
    "evaluate": commands.evaluate_run,
    "diagnose": commands.diagnose_run,
    "sample": commands.sample,
    "fit-prior": commands.fit_prior_of_run,
    "compare": commands.compare_runs,
    "demo": demo,
    "manifold": manifold,
}
