"""Bounds and log p(x) of each datum from draws of q, shared by several processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.draws import Draws, draws
from ppl_vae.enumeration import Enumerated
from ppl_vae.evaluation.estimates import errors, reliability
from ppl_vae.group import Group
from ppl_vae.importance import FEWEST, standard_error
from ppl_vae.isolation import random_states
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["ByQ", "by_q", "of_nothing", "per_datum", "summed"]


@dataclass
class ByQ:
    """What draws of q say of each of n data.

    Attributes
    ----------
    columns
        Of `per_datum`, each (n,), on the CPU and in float64.
    highest
        Each datum's largest log weight, (n,), in nats and the units of x.
    moments
        Sums over the data by site, (3, units): of the posterior means, of their squares, and of the variances that the
        means have because draws are few.
    measure, narrow
        See `Draws`.
    """

    columns: dict[str, Tensor]
    highest: Tensor
    moments: dict[str, Tensor] = field(default_factory=dict)
    measure: str = ""
    narrow: tuple[str, ...] = ()

    def enter(self, part: _Part) -> None:
        """Numbers of some data; sums in another order than that of the data are rounded otherwise."""
        for name, values in part.columns.items():
            column = self.columns.setdefault(name, torch.empty(len(self.highest), dtype=torch.float64))
            column[part.rows] = values
        self.highest[part.rows] = part.highest
        for name, sums in part.sums.items():
            self.moments[name] = self.moments[name] + sums if name in self.moments else sums
        self.measure, self.narrow = part.measure, tuple(dict.fromkeys((*self.narrow, *part.narrow)))

    def variance_of_means(self, site: str, num_samples: int) -> list[float]:
        """Variance over the data, less what few draws add to it; (units,), NaN for too few draws or data."""
        total, square, noise = self.moments[site] / len(self.highest)
        if num_samples < FEWEST or len(self.highest) < 2:  # the noise of so few draws is as large as the variance
            return torch.full_like(total, math.nan).tolist()
        found: list[float] = (square - total.square() - noise).clamp_min(0).tolist()
        return found


@dataclass(frozen=True)
class _Part:
    """What `ByQ` says of some rows of the data."""

    rows: slice
    columns: dict[str, Tensor]
    highest: Tensor
    sums: dict[str, Tensor]
    measure: str
    narrow: tuple[str, ...]


def by_q(
    program: Modelled,
    split: Split,
    num_samples: int,
    max_rows: int,
    progress: bool,
    group: Group,
    log_volume: Tensor,
    by: Callable[..., Draws] | None = None,
) -> ByQ:
    """From draws of q: each process scores some chunks of the data, and all have the numbers of all.

    Every process draws q for all data, so that random numbers are those of one process. `log_volume` is that of
    `per_datum`, and `by` that of `draws.draws`.

    Raises
    ------
    ValueError
        In several processes, for a model that draws random numbers where all its latents are given.
    """
    # allocated at once: small results kept from every chunk would fragment the heap
    found = ByQ({}, torch.full((len(split),), -math.inf, dtype=torch.float64))
    with progress_bar("log p(x) by q", len(split), shown=progress) as bar:
        parts = _parts(program, split, num_samples, max_rows, group, bar, log_volume, by)
        for part in group.merged(parts, lambda p: p.rows.start):
            found.enter(part)
    states = torch.cat(random_states([*program.parameters()])).numpy().tobytes()
    if len(set(group.gathered(states))) > 1:
        raise ValueError(
            f"an evaluation by {group.size} processes expects a model that draws no random numbers where its latents "
            "are given, got one that does, so that the processes would not agree; call it in one process"
        )
    return found


def _parts(
    program: Modelled,
    split: Split,
    num_samples: int,
    max_rows: int,
    group: Group,
    bar: tqdm,
    log_volume: Tensor,
    by: Callable[..., Draws] | None,
) -> Iterator[_Part]:
    """Those of this process."""
    for rows, drawn in draws(program, split, num_samples, max_rows=max_rows, share=(group.rank, group.size), by=by):
        columns = {name: in_float64(values).cpu() for name, values in per_datum(drawn, log_volume[rows]).items()}
        highest = in_float64(drawn.log_weights).max(0).values.cpu()
        sums = {name: _sums(z) for name, z in drawn.z.items()}
        narrow = drawn.narrow if drawn.enumerated is None else ()  # states are summed over whether or not q has them
        yield _Part(rows, columns, highest, sums, drawn.measure, narrow)
        bar.update((rows.stop - rows.start) * group.size)


def _sums(z: Tensor) -> Tensor:
    """Of draws (S, n, *event): see `ByQ.moments`."""
    z = in_float64(z.flatten(2) if z.dim() > 2 else z.unsqueeze(-1))
    mean = z.mean(0)
    noise = z.var(0) / len(z) if len(z) > 1 else torch.zeros_like(mean)
    return torch.stack([mean.sum(0), mean.square().sum(0), noise.sum(0)]).cpu()


def per_datum(drawn: Draws, log_volume: Tensor) -> dict[str, Tensor]:
    """ELBO, reconstruction, KL per site, log p(x) with its error and gap, ESS and k-hat, each (n,).

    Log densities are of the raw data, `log_volume` (n,) below those of x. A point mass or an improper prior has the
    reconstruction alone. Numbers that are not defined are NaN: the error and the gap of one draw, the k-hat of few
    draws, and that of a discrete q, whose weights have no tail. Discrete latents with few states are summed over,
    without an error; where there are more states and one was not drawn, the error of log p(x) is not known. Nor is it
    where draws of a density lie too close together (`site_values.coarse`): k-hat is then infinite. All draws
    of a q that is one code are equal and count as one: log p(x) is then the ELBO. Where nothing of x was observed,
    log p(x) is 0, without an error and with a k-hat of 0.
    """
    if drawn.singular or drawn.improper:
        log_likelihood = in_float64(drawn.log_likelihood)
        return {"reconstruction": log_likelihood.mean(0) - log_volume.to(log_likelihood.device)}
    states, num_samples = drawn.enumerated, len(drawn.log_likelihood)
    found = _estimated(drawn) if states is None else summed(states, num_samples)
    found |= {} if drawn.empty is None else of_nothing(found, drawn.empty)
    volume = log_volume.to(found["elbo"].device)
    return {k: v - volume if k in ("elbo", "reconstruction", "log_px") else v for k, v in found.items()}


def _estimated(drawn: Draws) -> dict[str, Tensor]:
    """`per_datum` from draws, in the units of x."""
    log_w = in_float64(drawn.log_weights)[: 1 if drawn.quantized else None]
    unseen, coarse = drawn.unseen.to(log_w.device), drawn.coarse.to(log_w.device)
    agree = unseen & (log_w == log_w[0]).all(0)
    return {
        "elbo": log_w.mean(0),
        "reconstruction": in_float64(drawn.log_likelihood).mean(0),
        **{_kl(name): in_float64(drawn.log_q[name] - drawn.log_p[name]).mean(0) for name in drawn.z},
        "elbo_mcse": torch.where(agree | coarse, math.nan, standard_error(log_w)),
        **errors(log_w, unseen | coarse),
        **reliability(log_w, not drawn.discrete_q, coarse),
    }


def of_nothing(found: dict[str, Tensor], empty: Tensor) -> dict[str, Tensor]:
    """Where nothing of x was observed, log p(x) is 0, and the gap, KL(q || p(z)), is minus the ELBO, where given."""
    known = dict.fromkeys(("log_px", "log_px_mcse", "log_px_bias", "pareto_k"), torch.zeros_like(found["log_px"]))
    known |= {"kl_gap": -found["elbo"], "kl_gap_mcse": found["elbo_mcse"]} if "elbo" in found else {}
    empty = empty.to(found["log_px"].device)
    return {name: torch.where(empty, value, found[name]) for name, value in known.items()}


def summed(states: Enumerated, num_samples: int) -> dict[str, Tensor]:
    """`per_datum` from all states of discrete latents, in the units of x, without an error."""
    log_px, log_w = states.log_px, states.log_joint - states.log_guide
    elbo, zero = states.mean(log_w), torch.zeros_like(log_px)
    return {
        "elbo": elbo,
        "reconstruction": states.mean(states.log_likelihood),
        **{_kl(name): states.mean(states.log_q[name] - states.log_p[name]) for name in states.log_q},
        "log_px": log_px,
        **dict.fromkeys(("elbo_mcse", "log_px_mcse", "log_px_bias", "kl_gap_mcse"), zero),
        "kl_gap": log_px - elbo,
        "ess": states.ess(num_samples),
        "pareto_k": torch.full_like(log_px, math.nan),
    }


def _kl(site: str) -> str:
    """The column of a site's KL; an underscore keeps it apart from the columns of the gap."""
    return f"kl_{site}_" if site.rstrip("_") in ("gap", "gap_mcse") else f"kl_{site}"
