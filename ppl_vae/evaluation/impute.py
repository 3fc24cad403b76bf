"""Missing elements of x from p(x_missing | x_observed), by importance sampling with q."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.distributions.row import Row
from ppl_vae.draws import Draws, replayed, score
from ppl_vae.evaluation.adaptive import check_method
from ppl_vae.evaluation.categories import domain_of, elements, levels_of, probabilities
from ppl_vae.evaluation.imputation import Imputation
from ppl_vae.evaluation.refit import refitted, smoothed
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import evaluating
from ppl_vae.masked import FromPrior
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.observed import check_observed
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import check_units
from ppl_vae.rows import dense
from ppl_vae.site_values import by_datum
from ppl_vae.split import Split
from ppl_vae.up_to import up_to
from ppl_vae.vae.formula import formula_of

__all__ = ["impute"]


@verb
def impute(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    method: str = "importance",
    num_draws: Count = 100,
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**30,
    probabilities: bool = False,
    progress: bool = True,
) -> Imputation:
    """Missing elements of x: their mean E[x_missing | x_observed], and draws of them, for each datum.

    z_1, ..., z_S are drawn from q(z | x_observed), with weights w_s proportional to p(x_observed, z_s) / q(z_s | x),
    Pareto-smoothed where k-hat can be fitted. The mean is sum_s w_s E[x_missing | z_s]. Each imputation draws one z of
    the S by its weight and x_missing from p(x_missing | z), given x_observed too where the elements are not independent
    given z (`CorrelatedGaussian`). `Imputation.pareto_k` says whether q and S are good enough for both; modes of
    p(z | x_observed) that q never visits are missing, and k-hat does not show it. Whether the model is right is another
    question: hide known values, and see the coverage of their intervals (`imputation_scores`).

    Observed elements stay as they are. A datum without a missing element has no k-hat and no ESS. Where all of x is
    missing, z is drawn from the prior p(z), with equal weights. Latents that a mask leaves out come from their prior
    given the others. Categories without an order, which `Domain` names, have no mean: they get the most probable one.
    Other elements without a finite mean get the median of their draws. Where E[x | z] has no formula, one draw of x for
    each z takes its place.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`, such as those of `data.from_frame`, where NaN is a missing value.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    method
        ``"importance"``, or ``"adaptive"``: for data with a high k-hat z comes from a proposal fitted to each, as in
        `refine`. Not for discrete latents.
    num_draws
        Number of imputations; a 95 % interval needs 39.
    num_samples
        Draws S from q a datum; k-hat needs 25 and is steady from 1,000 on.
    seed
        Seed of all draws; fresh entropy, recorded in the result, if `None`.
    max_rows
        Pairs of draw and datum decoded at once; bounds the memory.
    max_bytes
        Largest size of the result.
    probabilities
        Keep sum_s w_s P(x_missing = k | z_s) of categories, `Imputation.probabilities`: without the noise of shares of
        draws.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    Imputation
        In the units of x; `Imputation.raw` has the original ones.

    Raises
    ------
    ValueError
        For a point mass, one code a datum (VectorQuantized) or an improper prior, which give no weights; for a p(x | z)
        whose elements are neither independent given z nor `Rowwise`, or that cannot be drawn from; for a model that
        does not observe x, unchanged, at a single site; for a result above `max_bytes`; for `probabilities` of data
        without categories; and for whatever `evaluate` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Mattei & Frellsen 2019, arXiv:1812.02633, section 4 (the weights); Vehtari et al. 2024, arXiv:1507.02646 (k-hat).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").hide(0.3)
    >>> imputed = impute(build(digits, latent_dim=2, seed=0), digits.test[:50], num_samples=100, seed=0)
    >>> imputed.mean.shape, imputed.draws.shape
    (torch.Size([50, 1, 8, 8]), torch.Size([100, 50, 1, 8, 8]))
    """
    check_method("impute", method, num_samples)
    split = Split.of(x, *context, mask=mask)
    check_units(program, split)
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        levels = levels_of(program, split)
        num_levels = _num_levels(levels) if probabilities else 0
        _check_bytes(split, num_draws, num_levels, max_bytes)
        sampler = _Sampler.of(program, split, num_samples, num_draws, max_rows, levels, method)
        with progress_bar("imputation", len(split), shown=progress) as bar:
            found = _filled(split, sampler, num_levels, bar)
    return Imputation(
        mean=found.mean,
        draws=found.draws,
        observed=split.observed.cpu(),
        pareto_k=found.k,
        ess=found.ess,
        index=split.index.cpu(),
        num_samples=num_samples,
        seed=used,
        domain=domain_of(program, split),
        provenance=split.provenance,
        formula=formula_of(program),
        probabilities=found.shares,
    )


def _filled(split: Split, sampler: _Sampler, num_levels: int, bar: Any) -> _Found:
    """All data; those with a missing element are imputed by the sampler, in batches; with shares of so many levels."""
    known = dense(split.x).cpu()
    known = known if known.is_floating_point() else known.double()
    mean, draws = known.clone(), known.repeat(sampler.num_draws, *[1] * known.dim())
    k, ess = torch.full((2, len(split)), math.nan, dtype=torch.float64)
    shares = torch.full((*known.shape, num_levels), math.nan, dtype=known.dtype) if num_levels else None
    gaps = (~split.observed).reshape(len(split), -1).any(1).nonzero().flatten().cpu()
    bar.update(len(split) - len(gaps))
    for rows in chunks(len(gaps), max(sampler.num_samples, sampler.num_draws), sampler.max_rows):
        where, part = gaps[rows], split[gaps[rows].to(split.index.device)]
        found = sampler(part)
        seen = part.observed.cpu()
        mean[where] = torch.where(seen, mean[where], found.mean.to(mean))
        draws[:, where] = torch.where(seen, draws[:, where], found.draws.to(draws))
        if shares is not None and found.shares is not None:
            shares[where] = torch.where(seen.unsqueeze(-1), math.nan, found.shares.to(shares))
        k[where], ess[where] = found.k.cpu(), found.ess.cpu()
        bar.update(len(where))
    return _Found(mean, draws, k, ess, shares)


@dataclass(frozen=True)
class _Found:
    """`mean` (n, *x_shape), `draws` (num_draws, n, *x_shape), `k` and `ess` (n,), `shares` (n, *x_shape, levels)."""

    mean: Tensor
    draws: Tensor
    k: Tensor
    ess: Tensor
    shares: Tensor | None


@dataclass(frozen=True)
class _Sampler:
    """Imputes a batch of data; `categories` is the number of levels of categories without an order, 0 of the rest."""

    program: Modelled
    where: traces.Plates
    num_samples: int
    num_draws: int
    max_rows: int
    categories: Tensor | None
    method: str

    @classmethod
    def of(
        cls,
        program: Modelled,
        data: Split,
        num_samples: int,
        num_draws: int,
        max_rows: int,
        levels: Tensor | None,
        method: str,
    ) -> _Sampler:
        """The sampler for some data, whose plates are found, and checked, by runs on a few of them."""
        where = find_plates(program, data)
        return cls(program, where, num_samples, num_draws, where.rows(max_rows), levels, method)

    def __call__(self, data: Split) -> _Found:
        """Impute the missing elements; what is observed is not put back."""
        args, mask = arguments(self.program, data)
        drawn = score(self.program, args, mask, self.num_samples, 0, self.max_rows, self.where)
        _check_weights(drawn)
        site = check_observed(drawn.observed, data)
        empty = (data.elements == 0).to(drawn.log_likelihood.device)
        values, log_w, coarse = drawn.values, in_float64(drawn.log_weights), drawn.coarse.to(empty.device) & ~empty
        if empty.any():
            values = self._from_prior(args, mask, values, empty)
            log_w = torch.where(empty.to(log_w.device), 0.0, log_w)
        if self.method == "adaptive":
            values, log_w = refitted(self.program, data, self.where, self.max_rows, values, log_w, coarse)
            coarse = torch.zeros_like(coarse)
        log_w, k, ess = smoothed(log_w, not drawn.discrete_q, coarse)
        chosen = torch.multinomial(log_w.exp().T, self.num_draws, replacement=True).T  # (num_draws, n)
        taken = {name: torch.take_along_dim(v, self._aligned(chosen, v).to(v.device), 0) for name, v in values.items()}
        mean, shares = self._mean(site, args, mask, values, log_w.exp())
        draws = [
            by_datum(_drawn(model.nodes[site]), model.nodes[site], self.where)
            for _, model in replayed(self.program, args, mask, taken, self.max_rows, self.where.of(len(data)))
        ]
        sampled = torch.cat(draws)
        middle = in_float64(sampled).nanmedian(0).values if not mean.isfinite().all() else mean
        return _Found(torch.where(mean.isfinite(), mean, middle).cpu(), sampled.cpu(), k, ess, shares)

    def _from_prior(
        self, args: tuple[Tensor, ...], mask: Tensor | bool, values: Mapping[str, Tensor], empty: Tensor
    ) -> dict[str, Tensor]:
        """Draws of the latents, those of data that are `empty` from p(z)."""
        drawn = FromPrior(values, {name: self._aligned(empty[None], value) for name, value in values.items()})
        with drawn, traces.particles(self.num_samples, self.where.depth):
            up_to(self.program.model, values)(*args, **traces.model_kwargs(mask))
        return drawn.values

    def _aligned(self, each: Tensor, value: Tensor) -> Tensor:
        """Numbers (..., n) in the dimensions of values (draws, ...) in the batch shape of their site."""
        depth = self.where.depth
        plates = [each.shape[-1] if d == self.where.data else 1 for d in range(-depth, 0)]
        return each.reshape(*each.shape[:-1], *plates, *[1] * (value.dim() - 1 - depth))

    def _mean(
        self, name: str, args: tuple[Tensor, ...], mask: Tensor | bool, values: Mapping[str, Tensor], weights: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """sum_s w_s E[x | z_s], (n, *x_shape), in float64; of categories the most probable one, and their shares.

        Shares are (n, *x_shape, levels), NaN for other elements; `None` where there are no categories.
        """
        where = self.where.of(len(args[0]))
        total, shares = torch.zeros((), dtype=torch.float64), torch.zeros(())
        for some, model in replayed(self.program, args, mask, values, self.max_rows, where):
            site = model.nodes[name]
            total = total + _weighted(weights[some], by_datum(_expected(site), site, where))
            if self.categories is not None:
                levels = self.categories.to(site["value"].device)
                shares = shares if shares.dim() else total.new_zeros(int(levels.max()), *total.shape)
                for k, columns, p in probabilities(site, levels):
                    shares[k][..., columns] += _weighted(weights[some], by_datum(p, site, where))
        if self.categories is None:
            return total, None
        of = self.categories.to(total.device) > 0
        mean = torch.where(of, in_float64(shares.argmax(0)), total)
        return mean, torch.where(of, shares, math.nan).movedim(0, -1).cpu()


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """sum_s w_s v_s of weights (s, n) and values (s, n, ...), (n, ...)."""
    values = in_float64(values)
    return (weights.reshape(*weights.shape, *[1] * (values.dim() - 2)) * values).sum(0)


def _expected(site: traces.Site) -> Tensor:
    """E[x | z, x_observed] of a site; a draw where that has no formula."""
    fn = elements(site)
    try:
        mean: Tensor = site["fn"].mean
    except NotImplementedError:
        return _drawn(site)
    return _completed(fn, mean, site)


def _drawn(site: traces.Site) -> Tensor:
    """x ~ p(x | z, x_observed) of a site."""
    fn = elements(site)
    try:
        x: Tensor = site["fn"].sample()
    except NotImplementedError as error:
        raise ValueError(
            f"impute expects a p(x | z) that can be drawn from, got {type(fn).__name__}, which has no sample; give it "
            "one, or use another likelihood"
        ) from error
    return _completed(fn, x, site)


def _completed(fn: Any, x: Tensor, site: traces.Site) -> Tensor:
    """x (draws, n, *x_shape) given the observed elements, where elements are dependent given z."""
    return fn.given_seen(x, site["value"]) if isinstance(fn, Row) else x


def _check_weights(drawn: Draws) -> None:
    if drawn.singular or drawn.improper:
        raise ValueError(
            "impute expects a posterior and a prior with densities, got a point mass (Point) or an improper prior "
            "(Flat), whose draws have no weights; use another posterior and prior, or VAE.reconstruct"
        )
    if drawn.quantized:
        raise ValueError(
            "impute expects a posterior with a spread, got one code a datum (VectorQuantized), whose draws say nothing "
            "of the rest of p(z | x); use another posterior, or VAE.reconstruct"
        )


def _num_levels(levels: Tensor | None) -> int:
    """Of the category with the most."""
    if levels is None:
        raise ValueError(
            "impute expects categories among the data for probabilities=True, got none; leave it out, and see draws"
        )
    return int(levels.max())


def _check_bytes(split: Split, num_draws: int, num_levels: int, max_bytes: int) -> None:
    size = 4 if split.x.dtype in (torch.float32, torch.float16, torch.bfloat16) else 8
    needed = (num_draws + num_levels + 1) * split.x.numel() * size
    if needed > max_bytes:
        also = f" and probabilities of {num_levels} levels" if num_levels else ""
        raise ValueError(
            f"impute expects a result of at most {max_bytes / 2**30:.2f} GiB (max_bytes), got {num_draws} imputations"
            f"{also} of {len(split)} data of {split.x[:1].numel()} elements, {needed / 2**30:.2f} GiB; give a smaller "
            "num_draws, a part of the data, or max_bytes"
        )
