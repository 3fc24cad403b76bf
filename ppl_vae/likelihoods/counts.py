"""Likelihoods of counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae import distributions
from ppl_vae.arguments import Count, Name, checked
from ppl_vae.assumed import assume
from ppl_vae.conditional import Net
from ppl_vae.distributions import log_shares, positive, unconstrained
from ppl_vae.likelihoods.likelihood import Likelihood, Rowwise, Shape
from ppl_vae.likelihoods.marginals import mean_and_variance
from ppl_vae.nets import MLP

__all__ = ["Multinomial", "NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]

Exposure = bool | Literal["context", "total"] | None
Dispersion = Literal["decoder", "learned", "elementwise"]
LEAST = 1e-8
"""The smallest mean: counts where the decoder's share is 0 have a finite mass."""


@checked
class _Counts(Likelihood):
    """A likelihood of counts, with an exposure."""

    kinds = ("counts",)
    base_measure = "mass"
    sees_context = True
    typical_total: Tensor

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        exposure: Exposure = False,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        if exposure in (True, "context") and [tuple(shape) for shape in context[:1]] != [(1,)]:
            raise ValueError(
                f"{type(self).__name__} expects an exposure to be the first context, of shape (1,), got contexts "
                f"{list(context)}; give the data a context (n, 1) that goes to the decoder, leave out "
                f"exposure={exposure!r}, or take the total of each row (exposure='total')"
            )
        self.exposure = exposure
        self.sees_x = exposure == "total"
        self.given_total = "exposure" if self.sees_x else False
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        if self.given_total:
            self.register_buffer("typical_total", _one_each(x_shape))

    def mean_of(self, raw: Tensor, context: tuple[Tensor, ...], x: Tensor | None, mask: Tensor | bool) -> Tensor:
        """Means (*leading, *x_shape), from what the decoder gives."""
        dims = len(self.x_shape)
        if self.exposure == "total":
            total = _total(x, mask, self.typical_total, dims).unsqueeze(-1)
            seen = None if mask is True else torch.as_tensor(mask, device=raw.device).flatten(-dims)
            means = total * log_shares(raw.flatten(-dims), seen).exp()
            return means.clamp_min(LEAST).reshape(*means.shape[:-1], *self.x_shape)
        if self.exposure:
            return positive(raw) * context[0].reshape(*context[0].shape[:-1], *[1] * dims)
        return positive(raw)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The mean of the data, over that of their exposures; of shares of a total their logarithm."""
        mean, _ = mean_and_variance(x, mask)
        mean = mean.clamp_min(0.5 / len(x))
        if self.exposure == "total":
            return mean.log().unsqueeze(0)
        if self.exposure:
            e = _exposures(context[0]).reshape(-1, *[1] * len(self.x_shape)).to(x).expand(x.shape)
            exposed, _ = mean_and_variance(e, mask)
            mean = mean / exposed.where(exposed > 0, 1)
        return unconstrained(mean).unsqueeze(0)

    def learn_from(self, x: Tensor, mask: Tensor | bool = True) -> None:
        """The median total of the training data, for what is drawn or decoded without data."""
        if self.given_total:
            self.typical_total.copy_(_median_total(x, mask))

    def standardize(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.clamp_min(0).log1p()  # finite for what is no count, and refused where it is scored

    def settings(self) -> str:
        """What `formula` adds."""
        return "exposure=total" if self.given_total else ""


class Poisson(_Counts):
    """p(x_i | z) = Poisson(x_i; m_i), a mass for counts of mean and variance m_i.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    exposure
        `False` or `None` for none: m_i is what the decoder gives. `True` or ``"context"``: the first context, of shape
        (1,), is the exposure e > 0 of a datum, such as a time of observation, and m_i is e times what the decoder
        gives. The networks are given it too, so scale it to about 1. ``"total"``: m_i is the datum's own total
        n = sum_i x_i times the softmax of what the decoder gives, as in scVI. The encoder sees log(1 + x), from which n
        follows; the decoder does not see n.

        With a total as exposure masses may be ranked only against others with it (`Evaluation.base_measure` is ``"mass
        given the total as an exposure"``): part of what n costs is left out. The mass of the x of total n adds up to
        less than 1, as x may have any total, so that it is a lower bound of a mass on the rows of total n, and is not
        ranked against a `Multinomial`, which is one. Where elements are missing, n is the total of the others, and the
        softmax is over them. A decoded or drawn x has the total `typical_total`, the median of the training data that
        `build` was given, or one count an element; draw with others by `VAE.sample(n, total=...)`, or assign another
        (`vae.likelihood.typical_total.fill_(500)`). `reconstruct` and predictions of data take the total of each datum;
        data simulated for them (simulation-based calibration) have totals near it, not equal: there the calibration is
        approximate, and exact where totals are given as a context.
    context, site
        See `Likelihood`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (counts of RNA, with a library size).
    """

    def elementwise(
        self, raw_mean: Tensor, *context: Tensor, x: Tensor | None = None, mask: Tensor | bool = True
    ) -> TorchDistribution:
        """From unconstrained means and the context."""
        return distributions.Poisson(self.mean_of(raw_mean, context, x, mask))


@checked
class NegativeBinomial(_Counts):
    """p(x_i | z) = NB(x_i; m_i, r_i), a mass for counts of mean m_i and variance m_i + m_i^2 / r_i.

    r is the inverse dispersion: theta of scvi-tools, the concentration of NumPyro's `NegativeBinomial2`.

    Parameters
    ----------
    latent_dim, x_shape, net
        See `Likelihood`.
    exposure
        `False`, `True` or ``"context"``, or ``"total"``: see `Poisson`. It multiplies the mean, not r.
    dispersion
        ``"decoder"``, computed from z; ``"learned"``, one r for all elements; or ``"elementwise"``, one learned for
        each element of x, as for each gene of scVI.
    context, site
        See `Likelihood`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2 (counts of RNA, with a library size).
    """

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        exposure: Exposure = False,
        dispersion: Dispersion = "decoder",
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        self.dispersion = dispersion
        super().__init__(latent_dim, x_shape, net, exposure, context=context, site=site)
        if dispersion != "decoder":
            self.raw_concentration = nn.Parameter(torch.zeros(() if dispersion == "learned" else tuple(x_shape)))

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Mean, and r where the decoder computes it."""
        return 2 if self.dispersion == "decoder" else 1, *x_shape

    def elementwise(
        self, raw_mean: Tensor, *rest: Tensor, x: Tensor | None = None, mask: Tensor | bool = True
    ) -> TorchDistribution:
        """From unconstrained means, unconstrained r where the decoder computes them, and the context."""
        if self.dispersion == "decoder":
            raw, *context = rest
        else:
            raw, context = self.raw_concentration, list(rest)
        return distributions.NegativeBinomial(self.mean_of(raw_mean, tuple(context), x, mask), positive(raw))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """The mean of the data, and the r that gives their variance."""
        mean, variance = mean_and_variance(x, mask)
        r = unconstrained((mean.square() / (variance - mean).clamp_min(1e-3 * mean.clamp_min(1e-3))).clamp(1e-2, 1e3))
        raw_mean = super().start_from(x, mask, *context)
        if self.dispersion == "decoder":
            return torch.cat([raw_mean, r.unsqueeze(0)])
        with torch.no_grad():
            self.raw_concentration.copy_(r if self.dispersion == "elementwise" else r.median())
        return raw_mean

    def settings(self) -> str:
        """What `formula` adds."""
        own = "" if self.dispersion == "decoder" else f"dispersion={self.dispersion}"
        return ", ".join(filter(None, [super().settings(), own]))


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """p(x_i | z) = w_i 1[x_i = 0] + (1 - w_i) NB(x_i; m_i, r_i), a mass for counts with more zeros than a NB has.

    w_i = sigmoid(logit_i), with logits from the decoder: `zi_logits` of scvi-tools. The mean is (1 - w_i) m_i.

    Parameters
    ----------
    latent_dim, x_shape, net, exposure, dispersion, context, site
        See `NegativeBinomial`.

    References
    ----------
    Lopez et al. 2018, doi:10.1038/s41592-018-0229-2.
    """

    def param_shape(self, x_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Those of a negative binomial, after the logit of w."""
        k, *shape = super().param_shape(x_shape)
        return k + 1, *shape

    def elementwise(  # type: ignore[override]
        self, logits: Tensor, *rest: Tensor, **seen: Any
    ) -> TorchDistribution:
        """From logits of w, and what a negative binomial is made of."""
        return distributions.ZeroInflated(super().elementwise(*rest, **seen), logits)

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """A negative binomial with few zeros more, w = 0.02."""
        others = super().start_from(x, mask, *context)
        return torch.cat([torch.full_like(others[:1], -4.0), others])


@checked
class Multinomial(Rowwise):
    """p(x | z, n) = Multinomial(x; n, softmax(logits)), the mass of a row of counts given its total n: a bag of words.

    Rows may have any totals. What a total costs is left out, so that results may be ranked only against others that add
    up to 1 over the rows of a total (`Evaluation.base_measure` is ``"mass given the total"``). Where elements are
    missing, it is the mass of the others given their total. A decoded or drawn x has the total `typical_total`; see
    `exposure` of `Poisson`.

    Parameters
    ----------
    latent_dim, x_shape, net, context, site
        See `Likelihood`.

    References
    ----------
    Miao, Yu & Blunsom 2016, arXiv:1511.06038 (documents); Srivastava & Sutton 2017, arXiv:1703.01488.
    """

    kinds = ("counts",)
    base_measure = "mass"
    sees_x = given_total = True
    typical_total: Tensor

    def __init__(
        self,
        latent_dim: Count,
        x_shape: Shape,
        net: Net = MLP,
        *,
        context: Sequence[Shape] = (),
        site: Name = "x",
    ) -> None:
        super().__init__(latent_dim, x_shape, net, context=context, site=site)
        self.register_buffer("typical_total", _one_each(x_shape))

    def elementwise(
        self, logits: Tensor, *, x: Tensor | None = None, mask: Tensor | bool = True
    ) -> distributions.Multinomial:
        """From logits, and x for its total."""
        dims = len(self.x_shape)
        return distributions.Multinomial(logits, _total(x, mask, self.typical_total, dims), dims)

    def learn_from(self, x: Tensor, mask: Tensor | bool = True) -> None:
        """The median total of the training data, for what is drawn or decoded without data."""
        self.typical_total.copy_(_median_total(x, mask))

    def start_from(self, x: Tensor, mask: Tensor, *context: Tensor) -> Tensor:
        """Log shares of the elements."""
        mean, _ = mean_and_variance(x, mask)
        return mean.clamp_min(0.5 / len(x)).log().unsqueeze(0)

    def standardize(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.clamp_min(0).log1p()  # finite for what is no count, and refused where it is scored


def _total(x: Tensor | None, mask: Tensor | bool, typical: Tensor, dims: int) -> Tensor:
    """The total of the observed elements of each row (batch, *x_shape); `typical` where there are no data."""
    if x is None:
        return typical
    seen = x if mask is True else torch.where(torch.as_tensor(mask, device=x.device), x, 0.0)
    return seen.flatten(-dims).sum(-1).to(typical.dtype)


def _exposures(context: Tensor) -> Tensor:
    if not assume(~(context <= 0).any()):
        raise ValueError(
            f"an exposure expects a context above 0, got values from {float(context.min()):g} (standardized numbers "
            "are negative in part); say that the column is positive, kinds={'exposure': 'positive'}, or leave arrays "
            "as they are: from_arrays(..., standardize_context=False), and --raw-context for a .npz file"
        )
    return context


def _one_each(x_shape: Shape) -> Tensor:
    return torch.tensor(float(math.prod(x_shape)))


def _median_total(x: Tensor, mask: Tensor | bool) -> Tensor:
    return _total(x, mask, x.new_zeros((), dtype=torch.float64), x.dim() - 1).median()
