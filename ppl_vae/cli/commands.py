"""What each command does: the library's own calls, and files in the run folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from ppl_vae import data
from ppl_vae.checksums import record
from ppl_vae.cli.components import made, part
from ppl_vae.cli.diagnosis import write_diagnosis
from ppl_vae.cli.figures import draw, figures, raw, save
from ppl_vae.diagnostics import Diagnosis, diagnose
from ppl_vae.evaluation import compare, evaluate
from ppl_vae.evaluation.compare import printed
from ppl_vae.files import written
from ppl_vae.likelihoods import Bernoulli, Gaussian
from ppl_vae.split import Split
from ppl_vae.training import OneCycle, Run, fit, fit_prior, load
from ppl_vae.training.lock import locked
from ppl_vae.training.run_folder import folder_path
from ppl_vae.vae import VAE, build

__all__ = ["compare_runs", "diagnose_run", "evaluate_run", "fit_prior_of_run", "sample", "train"]


def train(options: Namespace) -> None:
    """Load, build, fit; the options are kept beside the checkpoint."""
    loaded = _prepared(options)
    vae = build(
        loaded,
        latent_dim=options.latent_dim,
        prior=part(options.prior),
        posterior=part(options.posterior),
        encoder=part(options.encoder),
        decoder=part(options.decoder),
        corruption=part(options.corruption),
        seed=options.seed,
    )
    steps = [" ".join(map(str, step.values())) for step in loaded.provenance["transforms"]]
    print("\n".join([f"{loaded}; {', '.join(steps) or 'as they are'}", vae.formula()]))
    folder = folder_path(default_folder(options, loaded) if options.run is None else options.run, "train")
    kept: list[Path] = []

    def keep_options(_: object) -> None:  # after an epoch: a run that is refused leaves nothing, and changes nothing
        if not kept:
            kept.append(folder / "options.yaml")
            with written(kept[0]) as temporary:
                temporary.write_text(options.yaml)
            record(folder, ["options.yaml"])

    fitted = fit(
        vae,
        loaded,
        epochs=options.epochs,
        batch_size=options.batch_size,
        objective=made(options.objective),
        beta=made(options.beta),
        optimizer=partial(torch.optim.Adam, lr=options.learning_rate, fused=True),
        schedule=None if options.one_cycle is None else OneCycle(options.one_cycle),
        clip_norm=options.clip_norm,
        patience=options.patience,
        seed=options.seed,
        device=options.device,
        run=folder,
        resume=options.resume,
        callbacks=[keep_options],
    )
    print(f"{fitted}\nwrote {folder}; next: ppl-vae evaluate {folder}")


def _prepared(options: Namespace) -> data.Data:
    """The data, as the likelihood scores them: the chosen one, or the usual one of the command line."""
    _at_least_one(options, "take")
    loaded = data.load(
        options.data,
        data_dir=options.data_dir,
        binarize=options.binarize,
        download=options.download,
        seed=options.data_seed,
    )
    usual = Gaussian if loaded.domain.kind == "real" else Bernoulli
    loaded = loaded.suit(part(options.likelihood) or usual, seed=options.data_seed)
    loaded = loaded.condition_on_labels() if options.conditional else loaded
    return loaded.take(*(min(options.take, len(s)) for s in loaded.splits.values())) if options.take else loaded


def default_folder(options: Namespace, loaded: data.Data) -> Path:
    """`runs/DATA-PRIOR-LIKELIHOOD-POSTERIOR-SEED`."""
    classes: tuple[Any, ...] = (part(options.prior), loaded.likelihood, part(options.posterior))
    names = [getattr(chosen, "func", chosen).__name__ for chosen in classes]
    return Path("runs") / "-".join([Path(options.data).stem, *names, str(options.seed)])


def evaluate_run(options: Namespace) -> None:
    """Evaluate on a split, and write `evaluation.json`."""
    with _held(options, "evaluate"):
        run, vae, split = _opened(options)
        result = evaluate(vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows)
        result.save(run.path / "evaluation.json")
    print(f"{result}\nwrote {run.path / 'evaluation.json'}")


def diagnose_run(options: Namespace) -> None:
    """Write the diagnosis in words, its trees and its figures, and print the verdict."""
    with _held(options, "diagnose"):
        run, vae, split = _opened(options)
        look = evaluate(vae, split[:1], num_samples=2, seed=options.seed, progress=False)
        if "log_px" not in look.per_datum or look.one_code:  # q has no spread that could be judged
            result = evaluate(vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows)
            print(f"{result}\n  without a spread of q there is no more to diagnose: figures only")
        else:
            result = _diagnosed(run.path, vae, split, options).check.evaluation
        names = list(figures(vae, split, run.history, result, run.path / "figures", seed=options.seed))
        record(run.path, [name.relative_to(run.path).as_posix() for name in names])
    print("\n".join(f"wrote {name}" for name in names))


def _diagnosed(folder: Path, vae: VAE, split: Split, options: Namespace) -> Diagnosis:
    found = diagnose(
        vae,
        split,
        full=options.full,
        subset=options.subset,
        length=options.length,
        num_samples=options.num_samples,
        seed=options.seed,
        max_rows=options.max_rows,
    )
    print(write_diagnosis(vae, found, folder))
    for name, reason in found.left_out.items():
        print(f"left out {name}: {reason}")
    return found


def sample(options: Namespace) -> None:
    """Draw data from the prior and the likelihood, in raw units."""
    _at_least_one(options, "num")
    with _held(options, "sample") if options.out is None else nullcontext():
        print(f"wrote {_sampled(options)}")


def _sampled(options: Namespace) -> Path:
    run, vae = _loaded(options)
    device = next(vae.parameters()).device
    context = (c.to(device) for c in _condition(run, options))
    x = raw(vae, vae.sample(options.num, *context, seed=options.seed, mean=options.mean))
    out = Path(options.out or run.path / ("samples.png" if x.dim() == 4 else "samples.npy"))
    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, x.numpy(), allow_pickle=False)
    else:
        save(draw("samples", x), out)
    if options.out is None:
        record(run.path, [out.name])
    return out


def fit_prior_of_run(options: Namespace) -> None:
    """Fit another prior to the encodings of a run's training data, and store the whole as a run of its own."""
    run, vae = _loaded(options)
    made = fit_prior(
        vae,
        _data(run, options),
        part(options.prior),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        patience=options.patience,
        seed=options.seed,
        run=options.out,
    )
    print("\n".join([made.formula(), f"wrote {options.out}; next: ppl-vae sample {options.out}"]))


def _condition(run: Run, options: Namespace) -> list[Tensor]:
    """What to condition on, each (num, ...): one label, or the conditions of the test data in turn."""
    if not run.config["recipe"]["context"]:
        if options.label is not None:
            raise ValueError("--label expects a conditional run, got one without a condition; leave it out")
        return []
    context = _split(run, options).context
    if options.label is None:
        return [c[torch.arange(options.num) % len(c)] for c in context]
    classes = context[-1].shape[-1]
    if not 0 <= options.label < classes:
        raise ValueError(f"--label expects 0 to {classes - 1}, got {options.label}; choose one of these labels")
    context = tuple(c[:1].expand(options.num, *c.shape[1:]).clone() for c in context)
    context[-1].zero_()[:, options.label] = 1
    return list(context)


def compare_runs(options: Namespace) -> None:
    """Print the table of several runs, best first."""
    names = [Path(run).resolve().name for run in options.runs]
    full = {name for name in names if names.count(name) > 1}  # a/r and b/r are two runs
    runs = {str(run) if name in full else name: run for name, run in zip(names, options.runs, strict=True)}
    table = compare(runs)
    print(printed(table))
    if options.figure:
        save(draw("nll_with_errors", table), Path(options.figure))
        print(f"wrote {options.figure}")


def _held(options: Namespace, command: str) -> AbstractContextManager[object]:
    """The run folder, to which nobody else writes meanwhile; where there is no run, loading it says so."""
    folder = folder_path(options.run, command)
    return locked(folder, command) if (folder / "checkpoint.json").is_file() else nullcontext()


def _opened(options: Namespace) -> tuple[Run, VAE, Split]:
    """A run, its VAE and the split of its data that is asked for."""
    _at_least_one(options, "take")
    run, vae = _loaded(options)
    return run, vae, _split(run, options)[: options.take]


def _loaded(options: Namespace) -> tuple[Run, VAE]:
    run = load(options.run, options.classes, device=options.device)
    if not isinstance(run.vae, VAE):
        raise ValueError("this command expects a run of a VAE, got another; load the run in Python")
    return run, run.vae


def _split(run: Run, options: Namespace) -> Split:
    loaded = _data(run, options)
    which = getattr(options, "split", "test")
    if which not in loaded.splits:
        raise ValueError(f"--split expects train, validation or test, got {which!r}; choose one of these")
    return loaded.splits[which].fixed(options.seed)


def _data(run: Run, options: Namespace) -> data.Data:
    if "checksum" not in (run.config["data"][0] or {}):
        raise ValueError("this command expects a run of data in memory, got another; load the run in Python")
    return data.again(run.config["data"][0], name=options.data, data_dir=options.data_dir)


def _at_least_one(options: Namespace, name: str) -> None:
    value = getattr(options, name)
    if value is not None and value < 1:
        raise ValueError(f"--{name} expects 1 or more, got {value}; give a larger number, or leave it out")
