"""What each command does: the library's own calls, and files in the run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from pyro.infer import ELBO

from ppl_vae import data
from ppl_vae.cli.components import made, part
from ppl_vae.cli.figures import draw, figures, save
from ppl_vae.diagnostics import to_arviz
from ppl_vae.evaluation import Evaluation, compare, evaluate
from ppl_vae.likelihoods import Likelihood
from ppl_vae.nets import Network
from ppl_vae.objectives import Beta
from ppl_vae.posteriors import Posterior
from ppl_vae.priors import Prior
from ppl_vae.split import Split
from ppl_vae.training import OneCycle, Run, fit, load
from ppl_vae.vae import VAE, build

__all__ = ["compare_runs", "diagnose", "evaluate_run", "sample", "train"]


def train(options: Namespace) -> None:
    """Load, build, fit; the options are kept beside the checkpoint."""
    likelihood = part(options.likelihood, Likelihood)
    loaded = data.load(
        options.data,
        data_dir=options.data_dir,
        likelihood=likelihood,
        binarize=options.binarize,
        conditional=options.conditional,
        download=options.download,
        seed=options.data_seed,
    )
    if options.take:
        loaded = loaded.take(*(min(options.take, len(s)) for s in loaded.splits.values()))
    torch.manual_seed(options.seed)
    vae = build(
        loaded,
        latent_dim=options.latent_dim,
        prior=part(options.prior, Prior),
        likelihood=likelihood,
        posterior=part(options.posterior, Posterior),
        encoder=part(options.encoder, Network),
        decoder=part(options.decoder, Network),
    )
    print("\n".join(repr(vae).splitlines()[:2]))
    folder = Path(options.run or default_folder(options))
    if not (folder / "checkpoint.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "options.yaml").write_text(options.yaml)
    fitted = fit(
        vae,
        loaded,
        epochs=options.epochs,
        batch_size=options.batch_size,
        objective=made(options.objective, ELBO),
        beta=made(options.beta, Beta),
        optimizer=partial(torch.optim.Adam, lr=options.learning_rate, fused=True),
        schedule=OneCycle(options.one_cycle) if options.one_cycle else None,
        clip_norm=options.clip_norm,
        patience=options.patience,
        seed=options.seed,
        device=options.device,
        run=folder,
        resume=options.resume,
    )
    print(f"{fitted}\nwrote {folder}; next: ppl-vae evaluate {folder}")


def default_folder(options: Namespace) -> Path:
    """`runs/DATA-PRIOR-LIKELIHOOD-POSTERIOR-SEED`."""
    classes = (options.prior, options.likelihood, options.posterior)
    names = [chosen.class_path.rpartition(".")[2] for chosen in classes]
    return Path("runs") / "-".join([Path(options.data).stem, *names, str(options.seed)])


def evaluate_run(options: Namespace) -> None:
    """Evaluate on a split, and write `evaluation.json`."""
    run, vae, split = _opened(options)
    result = evaluate(vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows)
    result.save(run.path / "evaluation.json")
    print(f"{result}\nwrote {run.path / 'evaluation.json'}")


def diagnose(options: Namespace) -> None:
    """Write the ArviZ tree and the figures, and say what they show."""
    run, vae, split = _opened(options)
    result = evaluate(vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows)
    print(result)
    if "log_px" in result.per_datum:
        tree = to_arviz(vae, split, num_samples=options.num_samples, seed=options.seed, max_rows=options.max_rows)
        tree.to_netcdf(str(run.path / "posterior.nc"))
        print(verdict(result), f"wrote {run.path / 'posterior.nc'}", sep="\n")
    for name in figures(vae, split, run.history, result, run.path / "figures", seed=options.seed):
        print(f"wrote {name}")


def verdict(result: Evaluation) -> str:
    """How far q is from the posterior, and what that number cannot see."""
    gap = (result.per_datum.log_px - result.per_datum.elbo).quantile([0.5, 0.95])
    return (
        f"KL from q(z | x) to p(z | x): median {gap[0.5]:.2f}, 95 % below {gap[0.95]:.2f} nats; a lower bound where "
        f"k-hat > {result.good_k:.2f} ({result.unreliable:.1%} of the data). A mode that q never visits is not seen "
        "by these numbers."
    )


def sample(options: Namespace) -> None:
    """Draw data from the prior and the likelihood."""
    run, vae, split = _opened(options)
    context = [c[:1].expand(options.num, *c.shape[1:]).clone() for c in split.context]
    if options.label is not None:
        if not context:
            raise ValueError("--label expects a conditional run, got one without a condition; leave it out")
        context[-1].zero_()[:, options.label] = 1
    elif context:
        context = [c[torch.arange(options.num) % len(c)] for c in split.context]
    device = next(vae.parameters()).device
    x = vae.sample(options.num, *(c.to(device) for c in context), seed=options.seed, mean=options.mean).cpu()
    out = Path(options.out or run.path / "samples.png")
    if out.suffix == ".npy":
        np.save(out, x.numpy(), allow_pickle=False)
    else:
        save(draw("samples", x), out)
    print(f"wrote {out}")


def compare_runs(options: Namespace) -> None:
    """Print the table of several runs, best first."""
    table = compare({Path(run).name: run for run in options.runs})
    print(table.to_string(float_format="{:.3f}".format))
    if options.figure:
        save(draw("nll_with_errors", table), Path(options.figure))
        print(f"wrote {options.figure}")


def _opened(options: Namespace) -> tuple[Run, VAE, Split]:
    """A run, its VAE and the split of its data that is asked for."""
    run = load(options.run, options.classes, device=options.device)
    if not isinstance(run.vae, VAE) or not run.config["data"][0]:
        raise ValueError("this command expects a run of data in memory, got another; load the run in Python")
    loaded = data.again(run.config["data"][0], name=getattr(options, "data", None), data_dir=options.data_dir)
    which = getattr(options, "split", "test")
    if which not in loaded.splits:
        raise ValueError(f"--split expects train, validation or test, got {which!r}; choose one of these")
    split = loaded.splits[which].fixed(options.seed)
    take = getattr(options, "take", None)
    return run, run.vae, split[:take] if take else split
