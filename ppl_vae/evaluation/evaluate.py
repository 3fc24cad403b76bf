"""One call: bounds and log p(x) for each datum, with their errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.draws import Draws, check_program, draws
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.importance import FEWEST, log_marginal, psis, standard_error
from ppl_vae.isolation import evaluating
from ppl_vae.precision import in_float64
from ppl_vae.split import Split

__all__ = ["evaluate", "formula", "per_datum"]


@verb
def evaluate(
    program: nn.Module,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> Evaluation:
    """ELBO, reconstruction, KL per site, log p(x) and their reliability, for each datum.

    In eval mode, without gradients, at beta = 1 and with every scale removed; weights are never changed. Every datum
    is encoded once and gets exactly `num_samples` draws. log p(x) is estimated by importance sampling with q, a
    stochastic lower bound; modes of the posterior that q never visits are missing from it, unseen by k-hat.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`, whose random preprocessing is carried out once from `seed`.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    num_samples
        Draws S a datum; k-hat and active units need 25, k-hat some 1,000 to be steady.
    seed
        Seed of the draws; fresh entropy, recorded in the result, if `None`.
    max_rows
        Pairs of draw and datum decoded at once, 1 or more; bounds the memory.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    Evaluation
        In the data's original units, where the split knows them.

    Raises
    ------
    ValueError
        For data outside the likelihood's support: the score of grey pixels under a Bernoulli is no log-likelihood;
        for sites outside one plate over the data; for no samples or rows.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519 (the estimate); Vehtari et al. 2024, arXiv:1507.02646 (k-hat).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> _ = torch.manual_seed(0)
    >>> result = evaluate(build(digits, latent_dim=2), digits.test, num_samples=50, seed=0)
    >>> bool((result.per_datum.elbo <= result.per_datum.log_px).all())
    True
    """
    check_program("evaluate", program)
    if num_samples < 1:
        raise ValueError(f"evaluate expects one sample or more, got {num_samples}; give num_samples=1 or more")
    split = Split.of(x, *context, mask=mask)
    # laid out at once: small results kept from every chunk would leave the heap in pieces that no chunk fits into
    columns: dict[str, Tensor] = {}
    moments: dict[str, _Moments] = {}
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        volume = split.log_volume
        bar = tqdm(total=len(split), unit="datum", disable=None if progress else True, leave=False)
        with bar:
            for rows, drawn in draws(program, split, num_samples, max_rows=max_rows):
                for name, values in per_datum(drawn, volume[rows]).items():
                    column = columns.setdefault(name, torch.empty(len(split), dtype=torch.float64))
                    column[rows] = in_float64(values).cpu()
                for name, z in drawn.z.items():
                    moments.setdefault(name, _Moments(z)).add(z)
                bar.update(rows.stop - rows.start)
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    table.index = pd.Index(split.index.tolist(), name="obs")
    return Evaluation(
        per_datum=_with_bits(table, split),
        unit_variance={name: m.variance_of_means(num_samples).tolist() for name, m in moments.items()},
        num_samples=num_samples,
        seed=used,
        base_measure="mass" if drawn.discrete else "density",
        data={"identity": split.identity, "checksum": split.checksum, "provenance": split.provenance},
        formula=formula(program),
    )


def formula(program: nn.Module) -> str:
    """What a program says of itself, if that is p(x, z) and q(z | x), in two lines; else the name of its class."""
    said = repr(program)
    return "\n".join(said.splitlines()[:2]) if said.startswith("p(") else type(program).__name__


def per_datum(drawn: Draws, log_volume: Tensor) -> dict[str, Tensor]:
    """ELBO, reconstruction, KL per site, log p(x) with its error and gap, ESS and k-hat, each (n,).

    Log densities are of the raw data, `log_volume` (n,) below those of x. Of a point mass or an improper prior the
    reconstruction alone. NaN where there is nothing to say: one draw has no error and no gap, few draws have no k-hat,
    and neither has a discrete q, whose weights have no tail. The draws of a q that is one code count as one: log p(x)
    is the ELBO then, a bound as always.
    """
    log_likelihood = in_float64(drawn.log_likelihood)
    log_volume = log_volume.to(log_likelihood.device)
    reconstruction = {"reconstruction": log_likelihood.mean(0) - log_volume}
    if drawn.singular or drawn.improper:
        return reconstruction
    log_w = in_float64(drawn.log_weights)[: 1 if drawn.quantized else None]
    num_samples = len(log_w)
    marginal = log_marginal(log_w)
    log_px, mcse, ess = marginal
    elbo = log_w.mean(0)
    weight = (log_w - log_px).exp()  # log p(x) is to first order a mean over draws too: of the weights over theirs
    nothing = torch.full_like(log_px, math.nan)
    spread = {
        "elbo_mcse": standard_error(log_w),
        "log_px_mcse": mcse,
        "log_px_bias": marginal.bias,
        "kl_gap": log_px - elbo,
        "kl_gap_mcse": standard_error(weight - log_w),
    }
    has_tail = num_samples >= FEWEST and not drawn.discrete_q
    return {
        "elbo": elbo - log_volume,
        **reconstruction,
        **{f"kl_{name}": in_float64(drawn.log_q[name] - drawn.log_p[name]).mean(0) for name in drawn.z},
        "log_px": log_px - log_volume,
        **(spread if num_samples > 1 else dict.fromkeys(spread, nothing)),
        "ess": ess,
        "pareto_k": psis(log_w)[1] if has_tail else nothing,
    }


class _Moments:
    """Running sums of posterior means over the data, of every latent unit."""

    def __init__(self, z: Tensor) -> None:
        self.n = 0
        self.total, self.square, self.noise = torch.zeros(3, z[0, 0].numel(), dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Take in draws (S, n, *event)."""
        z = in_float64(z.flatten(2) if z.dim() > 2 else z.unsqueeze(-1))
        mean = z.mean(0).cpu()
        if len(z) > 1:
            self.noise += (z.var(0) / len(z)).sum(0).cpu()
        self.n += len(mean)
        self.total += mean.sum(0)
        self.square += mean.square().sum(0)

    def variance_of_means(self, num_samples: int) -> Tensor:
        """Variance over the data, less what the finite number of draws adds; (units,), NaN for too few draws."""
        mean = self.total / self.n
        if num_samples < FEWEST:  # the noise of so few draws is as large as what is sought
            return torch.full_like(mean, math.nan)
        return (self.square / self.n - mean.square() - self.noise / self.n).clamp_min(0)


def _with_bits(table: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Bits per dimension beside log p(x), where the raw data are countable and something of them was observed."""
    if "log_px" in table and split.domain and (split.domain.discrete or split.domain.levels):
        elements = split.elements.numpy()
        table["bits_per_dim"] = -table["log_px"] / np.where(elements, elements * math.log(2), np.nan)
    return table
