"""Replicated data x' from the model, in batches of data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ppl_vae import traces
from ppl_vae.casting import arguments
from ppl_vae.diagnostics.model.simulate import simulated
from ppl_vae.draws import draws
from ppl_vae.memory import chunks, rows_at_once
from ppl_vae.modelled import Modelled
from ppl_vae.observed import check_observed
from ppl_vae.split import Split

__all__ = ["Realized", "Replicates", "from_guide", "from_prior"]

COPIES = 8  # of a datum in float64 that its statistics allocate


@dataclass(frozen=True)
class Replicates:
    """R replicates of some data.

    Attributes
    ----------
    rows
        Positions of the data.
    x
        Replicates, (R, n, *x_shape).
    """

    rows: slice
    x: Tensor


@dataclass(frozen=True)
class Realized(Replicates):
    """Replicates with the realized discrepancy -log p(x | z), which depends on z too.

    Attributes
    ----------
    of_data, of_replicates
        -log p(x | z) and -log p(x' | z) of the data and of their replicates at the same z, (R, n), in nats, for x in
        its raw units.
    """

    of_data: Tensor
    of_replicates: Tensor


def from_prior(program: Modelled, split: Split, num: int, max_rows: int) -> Iterator[Replicates]:
    """x' ~ p(z) p(x | z), with the context and mask of each datum.

    Call it inside `session.diagnosing`.

    Raises
    ------
    ValueError
        For an improper prior, and for a model that does not observe exactly x.
    """
    args, mask = arguments(program, split[:1])
    model, _ = traces.pair(program, *args, mask=mask)
    for name, site in traces.latents(model).items():
        if traces.improper(site):
            raise ValueError(
                f"replicates of the data expect a prior to draw from, got an improper one (Flat) at {name!r}; use "
                "another prior, or level='datum'"
            )
    max_rows = rows_at_once(max_rows, COPIES * args[0].nbytes)
    for rows in chunks(len(split), num, max_rows):
        few = split[rows]
        _, data = simulated(program, few, num * len(few), max_rows=max_rows)
        yield Replicates(rows, data.x.reshape(num, len(few), *data.x.shape[1:]))


def from_guide(program: Modelled, split: Split, num: int, max_rows: int) -> Iterator[Realized]:
    """z ~ q(z | x), x' ~ p(x | z).

    Call it inside `session.diagnosing`.

    Raises
    ------
    ValueError
        For a model that does not observe exactly x.
    """
    volume = split.log_volume
    for rows, drawn in draws(program, split, num, num_predictive=num, max_rows=max_rows):
        log_volume = volume[rows].to(drawn.log_likelihood.device)
        predicted = drawn.predicted[check_observed(drawn.observed, split[rows])]
        yield Realized(rows, predicted, log_volume - drawn.log_likelihood, log_volume - drawn.log_predicted)
