"""A distribution for each datum, fitted to p(z | x), and draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.adaptive.adapt import Adapted, Settings, pareto_k
from ppl_vae.adaptive.density import Density
from ppl_vae.adaptive.improve import fitted
from ppl_vae.adaptive.student import Defensive, Student
from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import verb
from ppl_vae.casting import arguments
from ppl_vae.draws import Draws, rescored
from ppl_vae.find_plates import find_plates
from ppl_vae.importance import FEWEST, good_k, log_marginal, psis
from ppl_vae.isolation import evaluating, frozen
from ppl_vae.memory import chunks
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split

__all__ = ["Refined", "refine", "refined_draws"]


@checked
@dataclass(frozen=True, eq=False)
class Refined:
    """Distributions fitted to p(z | x), one a datum, and draws from them that had no part in fitting them.

    Attributes
    ----------
    loc, scale_tril
        Of Student t over the unconstrained latents, (n, components, dim) and (n, components, dim, dim), in float64. The
        columns are those of the sites in turn, each transformed to the real numbers by `biject_to`.
    df
        Their degrees of freedom.
    z
        Draws from their mixture in equal shares, and 5 % from the prior, by site, (num_samples, n, ...).
    log_weight
        log p(x, z) less the log density of these draws, (num_samples, n), in nats and the units of x.
    index
        The position of each datum in its data set, (n,).
    """

    loc: Tensor
    scale_tril: Tensor
    df: float
    z: dict[str, Tensor]
    log_weight: Tensor
    index: Tensor

    @property
    def distribution(self) -> Any:
        """The fitted distribution of the unconstrained latents, of batch shape (n,), without the prior's share."""
        t = dist.MultivariateStudentT(torch.tensor(self.df).to(self.loc), self.loc, self.scale_tril)
        if self.loc.shape[1] == 1:
            return dist.MultivariateStudentT(t.df[:, 0], self.loc[:, 0], self.scale_tril[:, 0])
        return dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros_like(self.loc[..., 0])), t)

    @property
    def pareto_k(self) -> Tensor:
        """k-hat of the draws' weights, (n,)."""
        return pareto_k(self.log_weight)

    @property
    def believed(self) -> Tensor:
        """Whether k-hat is good, so that weighted draws stand for p(z | x), (n,)."""
        return self.pareto_k <= good_k(len(self.log_weight))

    @checked
    def resampled(self, num: Count, seed: Seed | None = None) -> dict[str, Tensor]:
        """Draws of p(z | x) itself, by site, (num, n, ...): drawn with replacement by Pareto-smoothed weights."""
        generator = torch.Generator()
        generator.manual_seed(torch.seed() % 2**63 if seed is None else seed)
        weights = psis(self.log_weight)[0].exp().cpu()
        chosen = torch.multinomial(weights.T, num, replacement=True, generator=generator).T
        return {
            name: value.gather(0, chosen.reshape(*chosen.shape, *[1] * (value.dim() - 2)).expand(num, *value.shape[1:]))
            for name, value in self.z.items()
        }

    def __repr__(self) -> str:
        bad, n = int((~self.believed).sum()), len(self.index)
        ess = float(log_marginal(self.log_weight).ess.median())
        far = f"k-hat is too high for {bad}: these may be far from p(z | x), though closer than q"
        verdict = far if bad else "k-hat is good"
        return f"Refined(Student t of {n} data, median ESS {ess:.0f} of {len(self.log_weight)} draws; {verdict})"


@verb
def refine(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    num_samples: Count = 1000,
    num_rounds: Count = 8,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> Refined:
    """A distribution of the latents for each datum, closer to p(z | x) than q: a Student t with a full scale matrix.

    Fitted as in `evaluate(method="adaptive")`: gradient steps from q's mean and covariance, then rounds of moment
    matching; a mixture of several where modes that q misses are found from the prior.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `evaluate`.
    num_samples
        Draws from the fitted distribution a datum, 25 or more.
    num_rounds
        Rounds of moment matching at most.

    Raises
    ------
    ValueError
        For fewer than 25 samples; for discrete latents, a point mass or an improper prior; for a support without a
        bijection from real numbers.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Cornuet et al. 2012, arXiv:0907.1254; Paananen et al. 2021, arXiv:1906.08850.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold")
    >>> refined = refine(build(digits, latent_dim=2, seed=0), digits.test[:5], num_samples=200, seed=0)
    >>> refined.distribution.batch_shape, refined.resampled(10, seed=0)["z"].shape, bool(refined.believed.all())
    (torch.Size([5]), torch.Size([10, 5, 2]), True)
    """
    split = Split.of(x, *context, mask=mask)
    parts: list[tuple[Adapted, dict[str, Tensor]]] = []
    with evaluating(program, seed) as used:
        split = split.fixed(used)
        with progress_bar("proposals", len(split), shown=progress) as bar:
            for rows, density, found in _fitted(program, split, num_samples, num_rounds, max_rows, "refine"):
                parts.append((found, {k: v.cpu() for k, v in density.of(rows).values(found.u).items()}))
                bar.update(len(rows))
    most = max(len(found.proposal.students) for found, _ in parts)
    students = [_as_many(found.proposal, most) for found, _ in parts]
    return Refined(
        loc=torch.cat([torch.stack([s.loc for s in each], 1) for each in students]).cpu(),
        scale_tril=torch.cat([torch.stack([s.tril for s in each], 1) for each in students]).cpu(),
        df=students[0][0].df,
        z={name: torch.cat([z[name] for _, z in parts], 1) for name in parts[0][1]},
        log_weight=torch.cat([found.log_w for found, _ in parts], 1).cpu(),
        index=split.index.cpu(),
    )


def refined_draws(
    program: Modelled, split: Split, num_samples: int, *, num_predictive: int = 0, max_rows: int = 10_000
) -> Iterator[tuple[slice, Draws, Draws]]:
    """As `draws.draws`, from the distributions of `refine` and the prior's share in the place of q.

    Yields
    ------
    rows : slice
        Which data.
    weighted : Draws
        As they were drawn; they stand for p(z | x) by their weights.
    equal : Draws
        Drawn of these with replacement, by Pareto-smoothed weights; they stand for p(z | x) as they are.
    """
    for rows, density, found in _fitted(program, split, num_samples, Settings.num_rounds, max_rows, "refined draws"):
        args, mask = arguments(program, split[rows])
        joint = density.of(rows)

        def scored(u: Tensor, log_w: Tensor, num: int) -> Draws:
            return rescored(program, args, mask, joint.sites(u), log_w, num, density.max_rows, density.where)  # noqa: B023

        chosen = torch.multinomial(psis(found.log_w)[0].exp().T, num_samples, replacement=True).T
        u = found.u.gather(0, chosen.unsqueeze(-1).expand_as(found.u).to(found.u.device))
        equal = scored(u, found.log_w.gather(0, chosen), num_predictive)
        yield slice(int(rows[0]), int(rows[-1]) + 1), scored(found.u, found.log_w, 0), equal


def _fitted(
    program: Modelled, split: Split, num_samples: int, num_rounds: int, max_rows: int, caller: str
) -> Iterator[tuple[Tensor, Density, Adapted]]:
    if num_samples < FEWEST:
        raise ValueError(
            f"{caller} expects num_samples of {FEWEST} or more, got {num_samples}, which have no k-hat; give more"
        )
    where = find_plates(program, split)
    density = Density(program, split, where, where.rows(max_rows))
    settings = Settings(num_samples, num_rounds)
    with frozen(program):
        for some in chunks(len(split), max(100, num_samples // 10), density.max_rows):
            rows = torch.arange(some.start, some.stop)
            yield rows, density, fitted(density, rows, settings)[0]


def _as_many(proposal: Defensive, num: int) -> list[Student]:
    """The components of a mixture, repeated so that there are `num`: it stays the same mixture."""
    students = list(proposal.students)
    return students * (num // len(students)) if num % len(students) == 0 else students
