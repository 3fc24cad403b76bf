"""Which elements of x a program observes as they came: their log density is known in raw units."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pyro
import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.domain import Domain
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.tensors import whole_mask

__all__ = ["as_observed", "check_units", "log_volume"]

FEW = 8  # data on which the model is run


def log_volume(program: Modelled, split: Split) -> Tensor:
    """log |d raw / d x| of what a program observes of each datum, (n,): see `as_observed` and `Split.log_volume`."""
    return as_observed(program, split).log_volume


def as_observed(program: Modelled, split: Split) -> Split:
    """The data with a mask of what a program observes of x as it came: `elements` and `log_volume` count that alone.

    A model may observe some columns, and others may be covariates. It is run on some data: the derivative of what a
    site observes is 1 or -1 in an element that is observed as it came, and 0 in others. All of x counts where this is
    not known: where a site is a `pyro.factor`, or a mass at values without a derivative. Random states stay. Call it
    inside `isolation.evaluating`.

    Warns
    -----
    UserWarning
        For a density of other functions of x, which stays in the units of the model.
    """
    if split.domain is None or (split.domain.log_volume == 0 and not split.domain.countable):
        return split
    part = _part(program, split[torch.linspace(0, len(split) - 1, min(len(split), FEW)).round().long()])
    return split if part is None else replace(split, mask=split.observed & part.to(split.x.device))


def check_units(program: Modelled, split: Split) -> None:
    """Warn of data in other units than those of the data that a VAE was built for: it takes them as its own.

    Warns
    -----
    UserWarning
        Where both are known, of the same kinds, and shift or span differ.
    """
    recipe, own = getattr(program, "recipe", None) or {}, split.domain
    if own is None or "domain" not in recipe:
        return
    built_for = Domain(**recipe["domain"])
    if built_for.kind == own.kind and (built_for.shift, built_for.span) != (own.shift, own.span):
        warnings.warn(
            f"the data are in other units than those that the VAE was built for, x = (raw - shift) / span with shift "
            f"{_shown(own.shift)} and span {_shown(own.span)} for {_shown(built_for.shift)} and "
            f"{_shown(built_for.span)}, and are taken as if they were in its own: give the raw data to run.prepare, or "
            "standardize the training data and these together",
            stacklevel=4,
        )


def _shown(values: float | tuple[float, ...]) -> str:
    each = values if isinstance(values, tuple) else (values,)
    return ", ".join(f"{value:.4g}" for value in each[:3]) + ", ..." * (len(each) > 3)


def _part(program: Modelled, few: Split) -> Tensor | None:
    """Which elements of x are observed as they came, (*x_shape); `None` where that is all, or not known."""
    (x, *context), mask = arguments(program, _complete(few))
    x, states = x.detach().requires_grad_(), random_states([x])
    try:
        with torch.enable_grad(), pyro.validation_enabled(False):
            model, _ = traces.pair(program, x.clone(), *context, mask=mask)
    except RuntimeError:  # x is taken as an array of NumPy, say
        return None
    finally:
        set_random_states(states, [x])
    part, elsewhere, seen = torch.zeros(x.shape[1:], dtype=torch.bool, device=x.device), [], False
    for name, site in traces.observed(model).items():
        value, is_mass = site["value"], traces.discrete(site)
        derivative = _derivative(value, x)
        if value.numel() == 0 or (derivative is None and is_mass):
            return None
        if derivative is None:  # a constant, or a context
            continue
        ones, some = (derivative.abs() == 1).any(0), (derivative != 0).any(0)
        other = (derivative != 0) & (derivative.abs() != 1)
        as_it_came = not other.any() and int(ones.sum()) <= value.numel() / len(x)
        seen, part = True, part | (some if is_mass else ones & as_it_came)
        elsewhere += [] if is_mass or as_it_came else [name]
    if elsewhere:
        _warn(elsewhere)
    return None if not seen or bool(part.all()) else part


def _derivative(value: Tensor, x: Tensor) -> Tensor | None:
    """The derivative of the sum of observed values in x; `None` where they do not depend on it, or have none."""
    if not value.requires_grad:
        return None
    with torch.enable_grad():
        total = value.sum()
    (found,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
    return found


def _complete(few: Split) -> Split:
    """The data with the value of another row where one is missing: a model fills in what it likes there."""
    x = dense(few.x)
    if few.mask is None:
        return replace(few, x=x)
    seen = few.observed.to(x.device)
    rows = seen.to(torch.uint8).argmax(0, keepdim=True)
    return replace(few, x=torch.where(seen, x, x.gather(0, rows)), mask=whole_mask(x))


def _warn(names: list[str]) -> None:
    warnings.warn(
        f"log p(x) in raw units expects a model that observes elements of x as they came, got other values at {names}: "
        "their density stays in the units in which the model observes them; give columns of x as obs=, or data that "
        "are neither standardized nor rescaled",
        stacklevel=2,
    )
