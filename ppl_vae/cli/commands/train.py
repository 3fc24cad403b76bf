"""Train a VAE and store the run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext, redirect_stdout
from functools import partial
from io import StringIO
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt

import ppl_vae
from ppl_vae.cli.chosen import made, parameters, part
from ppl_vae.cli.command import Command, on_run
from ppl_vae.cli.components import Parser
from ppl_vae.cli.loggers import KINDS, logged
from ppl_vae.cli.output import add_json, as_json
from ppl_vae.cli.source import literal, networks
from ppl_vae.cli.stored_run import ABOUT_DATA_DIR, DATA_SETS, DEVICES
from ppl_vae.factories import name_of
from ppl_vae.files import write_text

__all__ = ["COMMAND"]

_FILES = "table (.csv, .tsv, .parquet), .npy, .npz, .h5ad, documents (.feat, .svm) or folder of pictures"

_RATE = 1e-3


def _options(parser: Parser) -> None:
    parser.import_option()
    parser.config_option()
    parser.section("data")
    about = f"{', '.join(DATA_SETS)}; or a {_FILES}"
    parser.option("--data", offered=DATA_SETS, or_path=True, default="digits", help=about)
    _table_options(parser)
    parser.option("--data-dir", type=str | None, help=ABOUT_DATA_DIR)
    about = "static, dynamic or threshold, for binary likelihoods"
    parser.option("--binarize", names=("static", "dynamic", "threshold"), help=about)
    parser.option("--standardize", type=bool, default=True, help="standardize a table of real or positive values")
    parser.option("--conditional", type=bool, default=False, help="condition on the labels")
    parser.option("--take", type=int | None, least=1, help="only so many data of each split")
    parser.option("--download", type=bool, default=False, help="download missing data")
    parser.option("--data-seed", type=int, default=0, help="of splits and binarization; equal where compared")
    parser.section("model; --prior.ARGUMENT VALUE sets an argument of a class, --prior.help NAME lists them")
    _model_options(parser)
    parser.section("training")
    of_pyro: Any = {"skip": _pyros_own, "also": ["TraceEnum_ELBO"]}
    parser.component("pyro.infer:ELBO", "objective", "what is maximized", among="ppl_vae.objectives", **of_pyro)
    parser.component("ppl_vae.objectives:BetaSchedule", "beta", "weight of the KL", number="Constant.beta")
    _step_options(parser)
    parser.section("run")
    parser.option("--run", type=str | None, help="folder to write to (runs/DATA-PRIOR-LIKELIHOOD-POSTERIOR-SEED)")
    about = "also write the training as csv, tensorboard, mlflow or wandb, to the run folder or KIND:PLACE"
    parser.option("--log", type=str, offered=list(KINDS), nargs="+", default=[], metavar="KIND", help=about)
    parser.option("--resume", type=bool, default=False, help="go on with the run of that folder")
    add_json(parser)


def _model_options(parser: Parser) -> None:
    about = "dimension of z; in a hierarchy '[2, 8]', top first"
    parser.option("--latent-dim", type=int | list[int], least=1, default=8, help=about)
    parser.component("ppl_vae.priors:Prior", "prior", "p(z)", skip=attrgetter("linked"))
    usual = " (Bernoulli for binary, grey and unit, else by kind)"
    parser.component("ppl_vae.likelihoods:Likelihood", "likelihood", "p(x | z)", skip=_of_data, usual=usual)
    elsewhere = {"Refined": "write --refined-steps 5 beside the --posterior that is refined"}
    parser.component("ppl_vae.posteriors:Posterior", "posterior", "q(z | x)", skip=parameters, elsewhere=elsewhere)
    about = "gradient steps of q for each datum: Refined"
    parser.option("--refined-steps", type=PositiveInt | None, metavar="N", help=about)
    for role, about in (("encoder", "network of q(z | x)"), ("decoder", "network of p(x | z)")):
        parser.component("ppl_vae.nets:Network", role, about, skip=_linked, offered=networks(role))
    about = "noise on what the encoder sees"
    parser.component("ppl_vae.corruptions:Corruption", "corruption", about, skip=attrgetter("linked"), usual=" (none)")


def _step_options(parser: Parser) -> None:
    parser.option("--epochs", type=int, least=1, default=100, help="passes over the data; with --resume, in all")
    parser.option("--batch-size", type=int, least=1, default=128, help="data a batch")
    parser.option(
        "--learning-rate",
        type=PositiveFloat,
        default=_RATE,
        help="of Adam; --one-cycle has its own",
    )
    parser.option("--one-cycle", type=float | None, help="peak of a one-cycle learning rate")
    about = "AdamW for Adam: shrinks all parameters"
    parser.option("--weight-decay", type=NonNegativeFloat, default=0.0, metavar="DECAY", help=about)
    parser.option("--clip-norm", type=float | None, help="largest norm of the gradient")
    about = "update all parameters once in N steps, and only q in the others"
    parser.option("--encoder-steps", type=PositiveInt, default=1, metavar="N", help=about)
    parser.option("--patience", type=int | None, least=1, help="epochs without a better validation ELBO, then stop")
    parser.option("--seed", type=int, default=0, help="of the weights and the training")
    parser.option("--device", offered=["auto", *DEVICES], default="auto", help="auto, cpu, cuda or mps")
    about = "true, false (nor replay steps) or auto, for long runs"
    parser.option("--compile", type=Literal["auto"] | bool | None, help=about)
    parser.option("--precision", names=("bf16",), metavar="bf16", help="products in bfloat16 where that is faster")
    parser.option("--threads", type=PositiveInt | None, help="of this process (OMP_NUM_THREADS, or all cores)")


def _table_options(parser: Parser) -> None:
    about = "YAML file of lines 'column: kind', or HI-VAE's types"
    parser.option("--kinds", type=str | None, help=about)
    parser.option("--label", type=str | None, help="column of a table or obs that holds labels")
    about = "columns of a table or obs that the model is given"
    parser.option("--context", type=str, nargs="+", default=[], metavar="COLUMN", help=about)
    about = "prior, encoder, decoder or several are given it (all)"
    parts = literal("ppl_vae.vae.context_to", "Part")
    parser.option("--context-to", names=parts, nargs="+", metavar="PART", help=about)
    parser.option("--size", type=PositiveInt, nargs=2, help="height and width to crop and scale pictures to")
    parser.option("--split", type=str | None, help="column of a table that says train, validation or test")
    parser.option("--layer", type=str | None, help="layer of a .h5ad file, in place of X")
    parser.option("--raw-context", type=bool, default=False, help="leave the context of a .npz as it is: exposures")
    parser.option("--test", type=str | None, help="file of the test data, of the format of --data")


def _of_data(base: Any) -> Collection[str]:
    """Arguments of likelihoods that the component or the data determine."""
    return [*parameters(base), "levels", "ordered", "domain", "columns", "names"]


def _linked(base: Any) -> Collection[str]:
    """Arguments of networks that the component or the data determine."""
    return [*base.linked, "masked", "levels"]


def _pyros_own(base: Any) -> Collection[str]:
    """Arguments of every ELBO of Pyro that are no options here: all but those of the particles."""
    return set(parameters(base)) - {"num_particles", "vectorize_particles"}


def _train(options: Namespace) -> None:
    """Load, build, fit; under `torchrun` in several processes, of which the first prints and writes."""
    from ppl_vae.group import launched

    if options.one_cycle is not None and options.learning_rate != _RATE:
        raise ValueError(
            "--one-cycle expects no --learning-rate, as it starts at a 25th of its own peak, got both; give one of them"
        )
    with (
        launched() as first,
        nullcontext() if first else redirect_stdout(StringIO()),
        as_json(options.json and first) as values,
    ):
        values.update(_fitted(options, first=first))


def _fitted(options: Namespace, *, first: bool) -> dict[str, Any]:
    """Load, build, fit; the options are kept beside the checkpoint. What became of it, for scripts."""
    from ppl_vae.training.run_folder import folder_path

    loaded = _prepared(options)
    vae = ppl_vae.build(
        loaded,
        latent_dim=options.latent_dim,
        prior=part(options.prior),
        posterior=_posterior(options),
        encoder=part(options.encoder),
        decoder=part(options.decoder),
        corruption=part(options.corruption),
        context_to=options.context_to,
        seed=options.seed,
    )
    print("\n".join([f"{_columns(loaded)}{loaded}; {_steps(loaded)}", vae.formula()]))
    folder = folder_path(_default_folder(options, vae) if options.run is None else options.run, "train")
    with logged(options.log, folder, loaded.validation) as logs:
        fitted = _fit(options, vae, loaded, folder, [*([_options_kept(folder, options.yaml)] if first else []), *logs])
    print(f"{fitted}\nwrote {folder}; next: {on_run('evaluate', folder)}{options.imports}")
    last, kept = (fitted.history.loc[i].to_dict() for i in (fitted.history.index[-1], fitted.best_epoch))
    found = {"run": folder, "formula": vae.formula(), "epochs": len(fitted.history), "stopped": fitted.stopped}
    return {**found, "last": last, "kept_epoch": fitted.best_epoch, "kept": kept}


def _posterior(options: Namespace) -> Any:
    """The chosen posterior, or `Refined` around it."""
    base, steps = part(options.posterior), options.refined_steps
    return base if steps is None else partial(ppl_vae.posteriors.Refined, base=base, num_steps=steps)


def _fit(
    options: Namespace, vae: ppl_vae.VAE, loaded: ppl_vae.data.Data, folder: Path, callbacks: list[Any]
) -> ppl_vae.Fit:
    return ppl_vae.fit(
        vae,
        loaded,
        epochs=options.epochs,
        batch_size=options.batch_size,
        objective=made(options.objective),
        beta=made(options.beta),
        optimizer=_optimizer(options),
        schedule=None if options.one_cycle is None else ppl_vae.OneCycle(options.one_cycle),
        clip_norm=options.clip_norm,
        encoder_steps=options.encoder_steps,
        patience=options.patience,
        seed=options.seed,
        device=options.device,
        compile=options.compile,
        precision=options.precision,
        threads=options.threads,
        run=folder,
        resume=options.resume,
        callbacks=callbacks,
    )


def _optimizer(options: Namespace) -> Callable[[Any], Any]:
    import torch

    settings = {"lr": options.learning_rate, "fused": True}
    if options.weight_decay:
        return partial(torch.optim.AdamW, weight_decay=options.weight_decay, **settings)
    return partial(torch.optim.Adam, **settings)


def _options_kept(folder: Path, yaml: str) -> Callable[[object], None]:
    """A callback that keeps the options: a run that is refused before its first epoch leaves nothing."""
    kept: list[Path] = []

    def keep(_: object) -> None:
        from ppl_vae.checksums import record

        if not kept:
            kept.append(folder / "options.yaml")
            write_text(kept[0], yaml)
            record(folder, ["options.yaml"])

    return keep


def _prepared(options: Namespace) -> ppl_vae.data.Data:
    """The data, as the likelihood scores them: the chosen one, or the usual one of the command line."""
    from ppl_vae.data.named import READ

    loaded = ppl_vae.data.load(
        options.data,
        data_dir=options.data_dir,
        binarize=options.binarize,
        download=options.download,
        seed=options.data_seed,
        **{name: getattr(options, name) for name in READ},
    )
    if options.standardize and len(loaded.x_shape) == 1 and not {"real", "positive"}.isdisjoint(loaded.domain.kinds):
        loaded = loaded.standardize(seed=options.data_seed)
    grey = loaded.columns is None and loaded.domain.kind in ("binary", "levels", "unit")
    usual = ppl_vae.Bernoulli if grey else None
    if (chosen := part(options.likelihood) or usual) is not None:
        loaded = loaded.suit(chosen, seed=options.data_seed)
    loaded = loaded.condition_on_labels() if options.conditional else loaded
    return loaded.take(*(min(options.take, len(s)) for s in loaded.splits.values())) if options.take else loaded


def _columns(loaded: ppl_vae.data.Data) -> str:
    """What was decided about the columns of a table; nothing for other data."""
    return f"{loaded.columns}\n(--kinds FILE tells what they hold instead)\n\n" if loaded.columns else ""


def _steps(loaded: ppl_vae.data.Data) -> str:
    """The steps that were taken, with their settings; of standardized columns how to leave them as they are."""
    steps = loaded.provenance["transforms"]
    said = [" ".join(map(str, step.values())) for step in steps if "per" not in step]
    said += ["columns standardized (--no-standardize leaves them as they are)" for step in steps if "per" in step]
    return ", ".join(said) or "as they are"


def _default_folder(options: Namespace, vae: ppl_vae.VAE) -> Path:
    """`runs/DATA-PRIOR-LIKELIHOOD-POSTERIOR-SEED`."""
    classes: tuple[Any, ...] = (part(options.prior), type(vae.likelihood), _posterior(options))
    names = [name_of(chosen) for chosen in classes]
    return Path("runs") / "-".join([Path(options.data).stem, *names, str(options.seed)])


COMMAND = Command(
    name="train",
    about="train a VAE and store the run",
    parser=_options,
    run=_train,
    defaults={
        "prior": "StandardNormal",
        "posterior": "DiagonalNormal",
        "encoder": "MLP",
        "decoder": "MLP",
        "objective": "Trace_ELBO",
        "beta": "Constant",
    },
)
