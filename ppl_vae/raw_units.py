"""Which elements of x a program observes as they came: their log density is known in raw units."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.find_plates import find_plates
from ppl_vae.isolation import random_states, set_random_states
from ppl_vae.modelled import Modelled
from ppl_vae.observed import check_observed
from ppl_vae.precision import in_float64
from ppl_vae.rows import dense
from ppl_vae.site_values import observed_values
from ppl_vae.split import Split
from ppl_vae.tensors import whole_mask

__all__ = ["as_observed", "log_volume"]

MOST = 256  # rows by which elements of x are told from each other


def log_volume(program: Modelled, split: Split) -> Tensor:
    """log |d raw / d x| of what a program observes of each datum, (n,): see `as_observed` and `Split.log_volume`."""
    return as_observed(program, split).log_volume


def as_observed(program: Modelled, split: Split) -> Split:
    """The data with a mask of what a program observes of x as it came: `elements` and `log_volume` count that alone.

    A model may observe some columns, and others may be covariates. It is run on some data, and what it observes is
    looked for in x; random states stay. What a `pyro.factor` alone scores is not known: then all of x counts. Call it
    inside `isolation.evaluating`.

    Warns
    -----
    UserWarning
        For a density of values that are no elements of x, which stays in the units of the model.

    Raises
    ------
    ValueError
        See `find_plates`.
    """
    if split.domain is None or (split.domain.log_volume == 0 and not split.domain.countable):
        return split
    before = random_states([*program.parameters()])
    where = find_plates(program, split)
    few = split[:3]
    found = {name: value for name, (value, _) in _run(program, few, where).items()}
    try:
        check_observed(found, replace(few, x=dense(few.x)))
        whole = True
    except ValueError:
        whole = all(value.numel() == 0 for value in found.values())
    part = None if whole else _part(program, split, where)
    set_random_states(before, [*program.parameters()])
    return split if part is None else replace(split, mask=split.observed & part.to(split.x.device))


def _run(program: Modelled, data: Split, where: traces.Plates) -> dict[str, tuple[Tensor, bool]]:
    """What a program observes of some data by site, (n, ...), and whether it is scored by a mass."""
    args, mask = arguments(program, data)
    model, _ = traces.pair(program, *args, mask=mask)
    here = where.of(len(data))
    return {name: (observed_values(s, here).detach(), traces.discrete(s)) for name, s in traces.observed(model).items()}


def _part(program: Modelled, split: Split, where: traces.Plates) -> Tensor | None:
    """Which elements of x are observed as they came, (*x_shape); `None` where that is all."""
    some = _complete(split[torch.linspace(0, len(split) - 1, min(len(split), MOST)).round().long()])
    (x, *_), _ = arguments(program, some)
    shape, places = x.shape[1:], dict[bytes, list[int]]()
    for number, key in enumerate(_keys(x)):
        places.setdefault(key, []).append(number)
    assert split.domain is not None
    volumes = torch.tensor(split.domain.log_volume, dtype=torch.float64).expand(shape).flatten()
    part, elsewhere = torch.zeros(shape.numel(), dtype=torch.bool), []
    for name, (value, is_mass) in _run(program, some, where).items():
        known = True
        for key, count in Counter(_keys(value)).items():
            among = places.get(key, [])
            alike = count >= len(among) or bool((volumes[among] == volumes[among[0]]).all())
            known &= bool(among) and alike
            part[among[:count] if alike else []] = True
        elsewhere += [] if known or is_mass else [name]
    if elsewhere:
        _warn(elsewhere)
    return None if bool(part.all()) else part.reshape(shape)


def _warn(names: list[str]) -> None:
    warnings.warn(
        f"log p(x) in raw units expects a model that observes elements of x as they came, got other values at {names}: "
        "their density stays in the units in which the model observes them; give columns of x as obs=, or data that "
        "are neither standardized nor rescaled",
        stacklevel=2,
    )


def _complete(some: Split) -> Split:
    """The data with another row's value where one is missing: a model fills in what it likes there."""
    x = dense(some.x)
    if some.mask is None:
        return replace(some, x=x)
    seen = some.observed.to(x.device)
    rows = seen.to(torch.uint8).argmax(0, keepdim=True)
    return replace(some, x=torch.where(seen, x, x.gather(0, rows)), mask=whole_mask(x))


def _keys(values: Tensor) -> list[bytes]:
    """What tells each element of data (n, ...) from the others: its values in all rows."""
    if values.numel() == 0:
        return []
    columns = in_float64(values).cpu().reshape(len(values), -1).T + 0.0  # -0.0 is 0.0
    return [column.tobytes() for column in columns.contiguous().numpy()]
