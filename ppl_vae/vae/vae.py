"""The variational autoencoder: two Pyro functions over three components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_vae.adaptive import Refined, refine
from ppl_vae.arguments import Count, Rule, Seed, checked
from ppl_vae.assumed import in_vmap
from ppl_vae.calls import query, verb
from ppl_vae.casting import arguments
from ppl_vae.conditional import Chain, Conditional, OneDistribution
from ppl_vae.corruptions import Corruption
from ppl_vae.domain import Domain
from ppl_vae.isolation import eval_mode, evaluating, recorded, without_store
from ppl_vae.likelihoods import Likelihood
from ppl_vae.posteriors import Posterior
from ppl_vae.split import Split
from ppl_vae.support import check_values, filled
from ppl_vae.tensors import LEAVE, as_tensor, check_finite, check_precision
from ppl_vae.vae.asked import check_context, check_number, check_shape, rows_of_total
from ppl_vae.vae.context_to import EVERY_PART, ContextTo, Part, in_order
from ppl_vae.vae.exported import Format, Half, exported
from ppl_vae.vae.formula import formula
from ppl_vae.vae.known_to_q import known_to_q
from ppl_vae.vae.register import register
from ppl_vae.vae.seen import encoder_input

__all__ = ["VAE"]

Module = Annotated[nn.Module, Rule("that is an instance", lambda part: isinstance(part, nn.Module))]


@checked
class VAE(nn.Module):
    """p(z) p(x | z) and q(z | x), as the Pyro functions `model` and `guide`.

    Parameters
    ----------
    prior
        p(z); several levels as a `Chain`. Called inside the data plate with the context.
    likelihood
        p(x | z); owns the decoder.
    posterior
        q(z | x); owns the encoder. Called inside the data plate with x, as the likelihood standardizes it, and the
        context; any module whose call samples the prior's sites will do.
    corruption
        Corruption of x in `guide` in train mode, for a denoising VAE. The model scores the clean x, and in eval mode
        the guide is given the clean x.
    mask_input
        Whether the posterior is given the mask beside x, 1 where an element is missing: it is built for twice the size
        of x along the first dimension of a datum.
    context_to
        What is given the context: ``"prior"``, ``"encoder"`` (the posterior), ``"decoder"`` (the likelihood), or
        several of them; all by default. Every method takes the whole context.

    Attributes
    ----------
    recipe
        What `build` was given, ready for JSON; `None` for a VAE put together by hand.

    Examples
    --------
    >>> from ppl_vae import Bernoulli, DiagonalNormal, StandardNormal
    >>> VAE(StandardNormal(2), Bernoulli(2, (1, 8, 8)), DiagonalNormal((1, 8, 8), 2))
    p(x, z) = StandardNormal(z) Bernoulli(x | z)
    q(z | x) = DiagonalNormal
    VAE(...
    """

    recipe: dict[str, Any] | None = None

    def __init__(
        self,
        prior: Conditional | Chain,
        likelihood: Likelihood,
        posterior: Posterior | Chain | Module,
        corruption: Corruption | None = None,
        *,
        mask_input: bool = False,
        context_to: ContextTo = EVERY_PART,
    ) -> None:
        super().__init__()
        parts = [part for part in (prior, likelihood, posterior) if isinstance(part, Conditional | Chain)]
        if any("data" in part.sites for part in parts):
            raise ValueError("a VAE expects sites named otherwise than its plate, got 'data'; rename the site")
        self.prior = prior
        self.likelihood = likelihood
        self.posterior: Any = posterior
        self.corruption = corruption
        self.mask_input = mask_input
        self.context_to = in_order(context_to)

    def model(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> None:
        """p(x, z | context): x (batch, *x_shape), each context (batch, ...).

        `mask` is False where an element of x is missing; `beta` > 0 scales log p(z).
        """
        self._check_shapes(x, context)
        register(self)
        with pyro.plate("data", len(x), dim=-1):
            with poutine.scale(scale=beta):
                sees_x = self.prior.training and self.prior.sees_x
                known = {"x": encoder_input(self.likelihood, x, mask, self.mask_input, None)} if sees_x else {}
                z = self.prior(*self.given_to("prior", context), **known)
            fn = self.scored(x, mask, z, *context)
            pyro.sample(self.likelihood.site, fn, obs=filled(x, mask, fn), infer=self.likelihood.said())

    def guide(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> None:
        """q(z | x, context); `beta` scales log q(z | x), as it does log p(z) in `model`.

        In train mode, and with a corruption, q(z | x~, context); what is missing is not corrupted.
        """
        self._check_shapes(x, context)
        register(self)
        seen, known = self._to_posterior(x, mask, context, self.corruption)
        with pyro.plate("data", len(x), dim=-1), poutine.scale(scale=beta):
            self.posterior(*seen, **known)

    @query
    def forward(self, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True) -> Tensor:
        """E[x' | z] for one draw z ~ q(z | x), (batch, *x_shape): `reconstruct` in the current mode, with gradients.

        Uses torch's global generator. `fit` does not call it: a training goes by `model` and `guide`.
        """
        args, seen = self._entered(x, context, mask)
        fn = self.scored(args[0], seen, self.latent_draw(*args, mask=seen), *args[1:])
        return self.likelihood.typical(fn)

    @query
    def encode(self, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True) -> TorchDistribution:
        """q(z | x, context), batch_shape (batch,), event_shape (latent_dim,); networks in eval mode.

        Parameters
        ----------
        x
            Data (batch, *x_shape), as `evaluate` takes them: a tensor, an array, or a `Split`, whose random
            preprocessing is drawn once; uses torch's global generator.
        *context
            What the data are conditioned on, each (batch, ...); a split has its own.
        mask
            False where an element of x is missing.

        Raises
        ------
        TypeError
            For a posterior without one distribution to give, and for data that are no numbers.
        ValueError
            For x or context of other shapes than those of the VAE, values that are not finite, and, without a
            corruption, values outside the likelihood's support.
        """
        if not isinstance(self.posterior, OneDistribution):
            raise TypeError(
                f"encode expects a posterior with one distribution to give, got {type(self.posterior).__name__}; "
                "read its sites from a trace: pyro.poutine.trace(vae.guide).get_trace(x)"
            )
        with eval_mode(self):
            (x, *given), observed = self._entered(x, context, mask)
            seen, known = self._to_posterior(x, observed, given)
            return self.posterior.given(*seen, **known)

    @query
    def decode(self, z: Tensor, *context: Tensor) -> TorchDistribution:
        """p(x | z, context), batch_shape (*leading,), event_shape x_shape; networks in eval mode.

        Parameters
        ----------
        z
            Codes (*leading, latent_dim): a tensor, an array or nested lists of numbers.
        *context
            What the data are conditioned on, each (*leading, ...), or what broadcasts against it.

        Raises
        ------
        TypeError
            For codes or context that are no numbers.
        ValueError
            For codes or context of another width than those of the VAE, or that are not finite.
        """
        codes = as_tensor("z", z)
        width = self.likelihood.in_shape
        if codes.shape[codes.dim() - len(width) :] != width:
            raise ValueError(
                f"decode expects codes (*leading, {', '.join(map(str, width))}), got z of shape {tuple(codes.shape)}; "
                "give the last dimension one number for each latent unit"
            )
        check_finite("z", codes, fix=LEAVE)
        check_precision("z", codes, self._like().dtype)
        given = self._context(context)
        with eval_mode(self):
            return self.likelihood.given(self._real(codes), *self.given_to("decoder", given))

    def raw(self, x: Tensor) -> Tensor:
        """Values x in raw units; for a VAE without a recipe x itself."""
        return Domain(**self.recipe["domain"]).raw(x) if self.recipe else x

    @verb
    def reconstruct(
        self, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True, seed: Seed | None = None
    ) -> Tensor:
        """E[x' | z] for one draw z ~ q(z | x), in x's units; (batch, *x_shape). Data and errors as for `encode`.

        In a `Heterogeneous` table categories have no mean: there it is the most probable one.
        """
        with evaluating(self, seed):
            return self(x, *context, mask=mask)

    @verb
    def sample(
        self, n: Count, *context: Tensor, seed: Seed | None = None, mean: bool = False, total: Any = None
    ) -> Tensor:
        """n draws of x ~ p(x), or of its mean given z; (n, *x_shape).

        Parameters
        ----------
        n
            Number of draws.
        *context
            What to condition on, each (n, ...).
        seed
            Seed of the draws; fresh entropy if `None`.
        mean
            Give E[x | z] for z ~ p(z), as papers show it, instead of x ~ p(x | z); of categories as in `reconstruct`.
        total
            What each row adds up to, a number or (n,), for a likelihood given the total of a row (`Multinomial`,
            ``exposure="total"``): the lengths of documents. By default all have its `typical_total`.

        Raises
        ------
        TypeError
            For context that is no numbers.
        ValueError
            For no draws, a context that is not one row a draw or of another width than the VAE's, an improper prior,
            and a total that is below 0, not for this likelihood, or that its precision cannot represent.
        """
        check_number(n, context)
        given = self._context(context, rows=True)
        known = {} if total is None else {"x": self._real(rows_of_total(self.likelihood, n, total, self._like().dtype))}
        with evaluating(self, seed):
            with pyro.plate("data", n, dim=-1):
                z = self.prior(*self.given_to("prior", given))
            x = self.likelihood.given(z, *self.given_to("decoder", given), **known)
            return self.likelihood.typical(x) if mean else x.sample()

    @query
    def posterior_draw(self, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True) -> Tensor:
        """The latents passed to the likelihood for one draw from the guide, (batch, latent_dim).

        Data and errors as for `encode`. The prior is replayed on the guide's draw, in whatever order that sampled its
        sites; networks in eval mode. Uses torch's global generator.
        """
        with eval_mode(self):
            args, seen = self._entered(x, context, mask)
            return self.latent_draw(*args, mask=seen)

    def refine(self, x: Tensor | Split, *context: Tensor, mask: Tensor | bool = True, **options: Any) -> Refined:
        """`ppl_vae.refine(self, x)`: a distribution of the latents for each datum, closer to p(z | x) than q."""
        return refine(self, x, *context, mask=mask, **options)

    @verb
    def export(self, path: str | Path, part: Half = "encoder", format: Format | None = None) -> Path:
        """Write the encoder or the decoder to a file that runs without ppl_vae, and check that it computes the same.

        `part` is ``"encoder"`` or ``"decoder"``, `format` ``"pt2"`` (torch) or ``"onnx"``, by default as the name of
        the file ends. The file takes raw x, or z, then each context, and gives ``"mean"`` and ``"scale"`` of q(z | x),
        or of p(x | z), in raw units.
        """
        return exported(self, Path(path), part, format)

    def latent_draw(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True) -> Tensor:
        """`posterior_draw` for checked data, in the current mode of the networks."""
        seen, known = self._to_posterior(x, mask, context)
        with pyro.plate("data", len(x), dim=-1):
            guide = poutine.trace(self.posterior).get_trace(*seen, **known)
            return poutine.replay(self.prior, trace=guide)(*self.given_to("prior", context))

    def scored(self, x: Tensor, mask: Tensor | bool, z: Tensor, *context: Tensor) -> TorchDistribution:
        """p(x | z, context) for scoring checked data x: a likelihood that `sees_x` is given it, unlike in `decode`."""
        known = {"x": x} if self.likelihood.sees_x else {}
        return self.likelihood.given(z, *self.given_to("decoder", context), mask=mask, **known)

    def given_to(self, part: Part, context: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The context that a part is given: all of it, or none (`context_to`)."""
        return tuple(context) if part in self.context_to else ()

    def formula(self) -> str:
        """p(x, z) and q(z | x) as a paper writes them, a line each; `repr` shows the modules below it."""
        return formula(self, context=bool((self.recipe or {}).get("context")))

    def __repr__(self) -> str:
        return f"{self.formula()}\n{super().__repr__()}"

    def __getstate__(self) -> dict[str, Any]:
        return without_store(self)

    def _entered(self, x: Any, context: tuple[Any, ...], mask: Any) -> tuple[tuple[Tensor, ...], Tensor | bool]:
        """Data as the networks take them, (x, *context) and mask, checked as `fit` and `evaluate` check them."""
        split = Split.of(x, *context, mask=mask).drawn()
        like = self._like()
        check_precision("x", split.x, like.dtype, split.mask)
        self._check_shapes(split.x, split.context)
        given = self._context(split.context)
        (x, *_), seen = arguments(self, split)
        if self.corruption is None and not in_vmap():  # else it was trained on what lies outside, too
            z = x.new_zeros(1, *self.likelihood.in_shape)
            with torch.no_grad():
                check_values(self.likelihood.given(z, *(c[:1] for c in self.given_to("decoder", given))), x, seen)
        return (x, *given), seen

    def _context(self, context: tuple[Any, ...], rows: bool = False) -> tuple[Tensor, ...]:
        """Context where the parameters are, checked; with `rows` one row a datum."""
        given = [as_tensor("context", c) for c in context]
        self._check_context(given, rows)
        for c in given:
            check_finite("context", c, fix=LEAVE)
        like = self._like()
        return tuple(recorded(c).to(like.device, like.dtype if c.is_floating_point() else None) for c in given)

    def _check_shapes(self, x: Tensor, context: Sequence[Tensor]) -> None:
        check_shape(x, self.likelihood.x_shape)
        self._check_context(context)

    def _check_context(self, context: Sequence[Tensor], rows: bool = False) -> None:
        """Check the context against the shapes that the VAE was built for, where these are known."""
        built = self.recipe["context"] if self.recipe else self.likelihood.context_shapes
        check_context(context, built, bool(self.recipe), rows)

    def _to_posterior(
        self, x: Tensor, mask: Tensor | bool, context: Sequence[Tensor], corruption: Corruption | None = None
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """What the posterior is called with: x as the encoder is given it, the context, and what it asks for."""
        seen = encoder_input(self.likelihood, x, mask, self.mask_input, corruption)
        return (seen, *self.given_to("encoder", context)), known_to_q(self, x, mask, context)

    def _real(self, values: Tensor) -> Tensor:
        """Values on the device and in the precision of the parameters."""
        return recorded(values).to(self._like())

    def _like(self) -> Tensor:
        return next(self.parameters(), torch.zeros(()))
