"""The figures of a run: numbers from the library, pictures from `plots`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ppl_vae import evaluation
from ppl_vae.evaluation import Evaluation
from ppl_vae.isolation import evaluating
from ppl_vae.manifold import traverse
from ppl_vae.pages.latents import codes_of
from ppl_vae.priors import Prior
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["IN_TURN", "MEANS", "draw", "figures", "overview", "raw", "save"]

_MOST_UNITS = 10
"""Of which traversals are drawn."""

MEANS = "E[x | z] of draws z from the prior"
"""What pictures of samples show where x itself is not drawn."""

IN_TURN = ", under the labels or conditions of the first test data in turn"
"""What samples are conditioned on where no label is chosen."""


def figures(
    vae: VAE, split: Split, history: pd.DataFrame, result: Evaluation, folder: Path, *, seed: int
) -> Iterator[Path]:
    """Write every figure that fits the run as PNG; yields their paths.

    ELBO curves, reconstructions, samples, the latent space by label, traversals, the decoded manifold of a 2-D
    latent and its aggregate posterior over the prior, and KL per unit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Callable[[], Any]] = {}
    if "train_elbo" in history:  # a prior fitted afterwards has none
        made["elbo_curves"] = lambda: draw("elbo_curves", history)
    codes = codes_of(vae, split, seed)
    images = split.x.dim() == 4
    bounded = "log_px" in result.per_datum
    dense = bounded and not result.one_code
    if images:
        few = split[:10]
        shown = vae.reconstruct(few, seed=seed)
        made["reconstructions"] = lambda: draw("reconstructions", raw(vae, few.x), raw(vae, shown))
        made["traversals"] = lambda: _traversals(vae, split, codes)
    if images and bounded:
        context = tuple(c[torch.arange(64) % len(c)] for c in split.context)
        said = MEANS + (IN_TURN if context else "")
        made["samples"] = lambda: draw(
            "samples", raw(vae, vae.sample(64, *context, seed=seed, mean=True)), labelled=said
        )
    if codes.shape[-1] > 1:
        made["latent_space"] = lambda: _latent_space(codes, split, result.unit_variance.get(vae.prior.sites[-1]))
    flat = codes.shape[-1] == 2 and not split.context
    if images and flat:
        made["manifold"] = lambda: _manifold(vae, codes)
    if dense and flat and isinstance(vae.prior, Prior):
        made["aggregate_posterior"] = lambda: _aggregate_posterior(vae, codes, split)
    if dense:
        for site, (kl, label) in evaluation.kl_per_unit(vae, split, seed=seed).items():
            variance = np.array(result.unit_variance[site])
            active = None if np.isnan(variance).any() else variance > 0.01
            made[f"kl_per_unit_{site}"] = partial(draw, "kl_per_unit", kl, labelled=_MEANS[label], active=active)
    for name, drawn in made.items():
        save(drawn(), folder / f"{name}.png")
        yield folder / f"{name}.png"


def overview(runs: Mapping[str, tuple[VAE, Split, Evaluation]], path: Path, *, seed: int) -> None:
    """Several runs with 2-D latents, one a row: what z means, where q(z) lies in p(z), and the k-hats."""
    import matplotlib.pyplot as plt

    _, rows = plt.subplots(len(runs), 3, figsize=(15, 4.4 * len(runs)), layout="constrained", squeeze=False)
    for (title, (vae, split, result)), (left, middle, right) in zip(runs.items(), rows, strict=True):
        codes = codes_of(vae, split, seed)
        _manifold(vae, codes, side=15, ax=left)
        _aggregate_posterior(vae, codes, split, ax=middle)
        _pareto_k(result, ax=right)
        nll, se = result.summary.loc["nll"]
        left.set_title(f"{title}: decoded latent space")
        middle.set_title("aggregate posterior over the prior")
        right.set_title(f"NLL {nll:.2f} ± {se:.2f} nats per datum")
    save(rows[0, 0], path)


def raw(vae: VAE, x: Tensor) -> Tensor:
    """Values x of the VAE's data in the units of the file they came from, on the CPU."""
    return vae.raw(x).cpu()


def draw(name: str, *args: Any, **kwargs: Any) -> Any:
    """A figure of `plots`, which is imported only now: matplotlib takes a second."""
    from ppl_vae import plots

    return getattr(plots, name)(*args, **kwargs)


def save(ax: Any, path: Path) -> None:
    """Write the figure of some Axes, and close it."""
    import matplotlib.pyplot as plt

    from ppl_vae.plots.canvas import as_written

    as_written(ax.figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(ax.figure)


def _latent_space(codes: Tensor, split: Split, variance: Sequence[float] | None) -> Any:
    """The codes in the two units whose mean under q varies most over the data, or whose draws where that is unknown."""
    known = variance is not None and len(variance) == codes.shape[-1] and not np.isnan(variance).any()
    found = codes.var(0).numpy() if not known else np.asarray(variance)
    first, second = np.sort(np.argsort(-found, kind="stable")[:2]).tolist()
    ax = draw("latent_space", codes, split.y, dims=(first, second))
    varies = "mean under q varies" if known else "draws vary"
    of = "" if len(found) == 2 else f"\nthe two of {len(found)} units whose {varies} most"
    ax.set_title(f"one draw of q(z | x) for each datum{of}", fontsize="medium")
    return ax


def _traversals(vae: VAE, split: Split, codes: Tensor) -> Any:
    """One latent unit after the other, from -2 to 2 standard deviations of the codes, the others as for one datum."""
    values = torch.linspace(-2, 2, 11)
    centre, spread = codes[0], codes.std(0)
    units = spread.argsort(descending=True)[:_MOST_UNITS].sort().values
    z = traverse(centre, codes.mean(0).unsqueeze(-1) + values * spread.unsqueeze(-1))
    decoded = _decoded(vae, z[units], *(c[:1] for c in split.context))
    steps = values.numpy().round(1) + 0.0  # no minus zero
    labelled = "value of the moving unit, standard deviations of q(z) from its mean"
    return draw("traversals", decoded, values=steps, units=units.tolist(), labelled=labelled)


def _pareto_k(result: Evaluation, **kwargs: Any) -> Any:
    table = result.per_datum
    return draw("pareto_k", table.pareto_k, obs=table.index, num_samples=result.num_samples, **kwargs)


def _aggregate_posterior(vae: VAE, codes: Tensor, split: Split, **kwargs: Any) -> Any:
    """The codes over the prior's density, on a square that holds both."""
    with evaluating(vae, 0):
        prior = vae.prior.given()
        reach = 1.1 * torch.cat([codes, prior.sample((1000,)).cpu()]).abs().max().item()
        axis = torch.linspace(-reach, reach, 101, device=next(vae.parameters()).device)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
        log_prior = prior.log_prob(grid).cpu()
    extent = (-reach, reach, -reach, reach)
    return draw("aggregate_posterior", codes, log_prior, extent=extent, labels=split.y, **kwargs)


def _manifold(vae: VAE, codes: Tensor, side: int = 20, **kwargs: Any) -> Any:
    low, high = codes.quantile(0.02, dim=0).tolist(), codes.quantile(0.98, dim=0).tolist()
    first, second = (torch.linspace(low[i], high[i], side) for i in (0, 1))
    z = torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)  # rows from high z[1] to low
    return draw("manifold", _decoded(vae, z), extent=(low[0], high[0], low[1], high[1]), **kwargs)


def _decoded(vae: VAE, z: Tensor, *context: Tensor) -> np.ndarray:
    with evaluating(vae):
        return raw(vae, vae.decode(z, *context).mean).numpy()


_MEANS = {"KL": "KL", "dimension-wise KL": "mismatch KL(q(z_j) || p(z_j)) of all data together"}
