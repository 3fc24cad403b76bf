"""log p(x) of each datum, by importance sampling, AIS or quadrature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae import traces
from ppl_vae.arguments import Count, Range, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.evidence.ais import ais
from ppl_vae.diagnostics.evidence.quadrature import quadrature
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import draws
from ppl_vae.enumeration import enumerate_latents
from ppl_vae.evaluation.by_q import of_nothing, per_datum, summed
from ppl_vae.evaluation.estimates import errors, reliability
from ppl_vae.evaluation.evaluate import evaluate
from ppl_vae.find_plates import find_plates
from ppl_vae.libraries import xr
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.split import Split
from ppl_vae.summed import nothing_observed

__all__ = ["METHODS", "log_marginal_likelihood"]


@verb
def log_marginal_likelihood(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    method: str = "iwae",
    max_rows: Count = 10_000,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """log p(x) of each datum, with its error; a stochastic lower bound, except by quadrature.

    ``"iwae"``
        The mean weight of `num_samples` (1000) draws from q. Too low where pareto_k is above `good_k`, and where q
        misses a mode, which pareto_k does not detect.
    ``"adaptive"``
        The mean weight of `num_samples` (1000) draws from a proposal fitted to each datum where pareto_k is high, and
        annealing from there for data whose k-hat stays high, with the options of `evaluate`.
    ``"prior"``
        The mean likelihood of `num_samples` (1000) draws from the prior. It does not use q; the number of draws needed
        grows exponentially with KL(p(z | x) || p(z)).
    ``"ais"``
        Annealed importance sampling, with the options of `ais`: slow; use it where pareto_k is high.
    ``"quadrature"``
        Quadrature on a grid, with the options of `quadrature`: near exact, for one or two latent dimensions in all.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`.
    method
        One of the above.
    **options
        Options of the method.

    Returns
    -------
    xarray.Dataset
        By `obs`: `log_px` (nats, for x in its original units) and, for all methods except quadrature, `log_px_mcse`,
        its Monte Carlo standard error, `log_px_bias`, its bias to first order (negative), and `ess`. `pareto_k` for
        iwae and prior: NaN for fewer than 25 draws and for discrete latents, whose weights have no tail. Discrete
        latents of at most 4096 states are summed over, with an error of 0; with more states the error is NaN where the
        draws do not determine it. `log_px_error` for quadrature. For adaptive also `believed`, false where log_px is a
        bound, and `evaluations` of log p(x, z).

    Raises
    ------
    ValueError
        For an unknown method; for a point mass or an improper prior; for whatever the method refuses.
    TypeError
        For an option the method does not have; for a program that is no module with `.model` and `.guide`, and for
        data that are no tensor or `Split`.

    References
    ----------
    Burda et al. 2016, arXiv:1509.00519; Vehtari et al. 2024, arXiv:1507.02646 (k-hat).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> _ = torch.manual_seed(0)
    >>> vae = build(digits, latent_dim=2)
    >>> exact = log_marginal_likelihood(vae, digits.test, method="quadrature")
    >>> found = log_marginal_likelihood(vae, digits.test, method="iwae", seed=0)
    >>> bool((abs(found.log_px - exact.log_px) < 4 * found.log_px_mcse).all())
    True
    """
    if method not in METHODS:
        raise ValueError(
            f"log_marginal_likelihood expects a method among {sorted(METHODS)}, got {method!r}; choose one of them"
        )
    return METHODS[method](program, x, *context, mask=mask, seed=seed, max_rows=max_rows, progress=progress, **options)


@checked
def log_marginal_likelihood_by_draws(
    estimates: Estimates,
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: int | None = None,
    num_samples: Annotated[int, Range(2)] = 1000,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """log of the mean of independent weights, or the sum over all states where they can be enumerated."""
    columns: dict[str, Tensor] = {}
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        with progress_bar("log p(x)", len(split), shown=progress) as bar:
            for rows, found in estimates(program, split, num_samples, max_rows):
                for name in _UNITS:
                    columns.setdefault(name, torch.empty(len(split), dtype=torch.float64))[rows] = found[name].cpu()
                bar.update(rows.stop - rows.start)
        columns["log_px"] -= log_volume(program, split)
        return with_units(
            {name: (("obs",), values, _UNITS[name]) for name, values in columns.items()},
            {"obs": split.index.tolist()},
            cannot_see="modes that none of the draws hit; where pareto_k is high the error is too small as well",
            **attributes(program, split, used, num_samples=num_samples),
        )


def _adaptive(program: Modelled, x: Tensor | Split, *context: Tensor, **options: Any) -> xr.Dataset:
    """What `evaluate(method="adaptive")` finds of log p(x)."""
    found = evaluate(program, x, *context, method="adaptive", **options)
    table, units = found.per_datum, _UNITS | {"believed": "1", "evaluations": "evaluations"}
    return with_units(
        {name: (("obs",), table[name].to_numpy(), unit) for name, unit in units.items()},
        {"obs": table.index.tolist()},
        cannot_see="modes so narrow or so far out that neither the draws nor climbs from the prior came to them",
        model=" ".join(found.formula.splitlines()),
        data=found.data["identity"],
        seed=found.seed,
        num_samples=found.num_samples,
    )


def _by_guide(
    program: Modelled, split: Split, num_samples: int, max_rows: int
) -> Iterator[tuple[slice, Mapping[str, Tensor]]]:
    """Of the weights log p(x, z) - log q(z | x) for z ~ q."""
    for rows, drawn in draws(program, split, num_samples, max_rows=max_rows):
        if drawn.singular or drawn.improper:
            raise ValueError(
                "log_marginal_likelihood(method='iwae') expects a prior and a q with densities, got an improper prior "
                "(Flat) or a point mass (Point), which have no weights; use another prior and posterior"
            )
        if drawn.quantized:
            raise ValueError(
                "log_marginal_likelihood(method='iwae') expects a q with a spread, got one code a datum "
                "(VectorQuantized), whose draws are all the same; use method='prior', or take the ELBO, a bound"
            )
        yield rows, per_datum(drawn, torch.zeros(drawn.log_likelihood.shape[1]))


def _by_prior(
    program: Modelled, split: Split, num_samples: int, max_rows: int
) -> Iterator[tuple[slice, Mapping[str, Tensor]]]:
    """Of the weights log p(x | z) for z ~ p(z)."""
    where = find_plates(program, split)
    args, mask = arguments(program, split[:1])
    latent = traces.latents(traces.pair(program, *args, mask=mask)[0])
    if any(map(traces.improper, latent.values())):
        raise ValueError(
            "log_marginal_likelihood(method='prior') expects a prior to draw from, got an improper one (Flat), under "
            "which x has no density; use another prior"
        )
    has_tail = not all(map(traces.discrete, latent.values()))
    max_rows = where.rows(max_rows)
    for rows in chunks(len(split), num_samples, max_rows):
        args, mask = arguments(program, split[rows])
        here = where.of(len(args[0]))
        states = None if has_tail else enumerate_latents(program, args, mask, here, max_rows=max_rows)
        if states is None:
            log_w = _of_prior(program, args, mask, num_samples, max_rows, here)
            found = errors(log_w, (log_w == log_w[0]).all(0)) | reliability(log_w, has_tail)
        else:
            found, log_w = summed(replace(states, log_q=states.log_p), num_samples), states.log_likelihood
        empty = nothing_observed(mask, log_w)
        yield rows, found if empty is None else found | of_nothing(found, empty)


def _of_prior(
    program: Modelled,
    args: tuple[Tensor, ...],
    mask: Tensor | bool,
    num_samples: int,
    max_rows: int,
    where: traces.Plates,
) -> Tensor:
    """log p(x | z) for z ~ p(z), (num_samples, n)."""
    parts = []
    for some in chunks(num_samples, where.size, max_rows):
        size = some.stop - some.start
        with traces.particles(size, where.depth):
            trace = poutine.trace(program.model).get_trace(*args, **traces.model_kwargs(mask))
        seen = [traces.log_prob(site, where, size) for site in traces.observed(trace).values()]
        parts.append(torch.stack(seen).sum(0))
    return in_float64(torch.cat(parts))


Estimates = Callable[[Any, Split, int, int], Iterator[tuple[slice, Mapping[str, Tensor]]]]
METHODS: Mapping[str, Callable[..., xr.Dataset]] = {
    "prior": partial(log_marginal_likelihood_by_draws, _by_prior),
    "adaptive": _adaptive,
    "iwae": partial(log_marginal_likelihood_by_draws, _by_guide),
    "ais": ais,
    "quadrature": quadrature,
}
_UNITS = {"log_px": "nats", "log_px_mcse": "nats", "log_px_bias": "nats", "ess": "draws", "pareto_k": "1"}
