"""Draws from the true posterior of each datum by Hamiltonian Monte Carlo, the reference for q(z | x)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Count, Fraction, Seed, Whole
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Results, Subject
from ppl_vae.diagnostics.posterior.adaptation import Adaptation
from ppl_vae.diagnostics.posterior.chains import CANNOT_SEE, Chains
from ppl_vae.diagnostics.results import attributes, group, to_tree
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import data
from ppl_vae.folded import folded
from ppl_vae.importance import FEWEST
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.replayed import Replayed
from ppl_vae.split import Split
from ppl_vae.unconstrained.hmc_kernel import THREE_STAGE, init, transition
from ppl_vae.unconstrained.log_joint import LogJoint, log_joints

__all__ = ["HMC", "hmc"]

TRAJECTORY = 1.8  # posterior sd: beyond pi / 2 draws are antithetic, and the ESS of variances falls


@verb
def hmc(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_chains: Count = 8,
    num_warmup: Whole = 200,
    num_samples: Count = 250,
    num_steps: Count = 1,
    target_accept: Fraction = 0.8,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**29,
    progress: bool = True,
) -> Any:
    """Draws from p(z | x) of each datum by HMC; not valid where `reliable` is false or a mode was not visited.

    All chains of all data run in parallel. Each pair of chain and datum has its own acceptance and step size, each
    datum its own mass; both are adapted in warm-up. Half of the chains start from the prior, the other half from q with
    1.75 times its standard deviation: chains that start from q alone agree even where q misses a mode. Of two modes of
    equal weight, all four chains from the prior still fall into q's mode for one datum in sixteen; more chains miss
    fewer.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`; `max_rows` counts pairs of chain and datum.
    num_chains
        Chains per datum, an even number, 4 or more: two from each start, so that each pair can disagree.
    num_warmup, num_samples
        Transitions of each chain that are discarded, and that are kept; at least 50 and 25. With few of them R-hat
        exceeds 1.05 by chance and `reliable` is false: with 50 of each for a third of Gaussian posteriors in 8
        dimensions; with 200 for none.
    num_steps
        Steps per transition, each of three gradients and at most 1.8 / num_steps posterior standard deviations. A
        trajectory is less than a third of a period; a longer one returns.
    target_accept
        Target acceptance probability of warm-up; it is exceeded where the largest step allows.
    max_bytes
        Largest tree; the draws of `max_rows` pairs are held twice while a batch runs.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `posterior`: the latents by site, (chain, draw, obs, ...), the first half of the chains from the prior.
        `sample_stats`, (chain, draw, obs): `acceptance_rate`, `diverging`, `energy`, and `lp` = log p(x, u), with u
        the latents unconstrained and x in its original units, in nats. `diagnostics`, (obs,): `rhat`, the largest of
        all units of u; `ess`, the smallest, in draws; `reliable`, whether R-hat is at most 1.05: leave other data out
        of comparisons, as their chains disagree or are too short; `step_size`, the mean over chains, in posterior
        standard deviations; `divergences`, their number.

    Raises
    ------
    ValueError
        For discrete latents, a point-mass posterior or an improper prior; for an odd number of chains or one below
        4, too short a run, no steps, a target outside (0, 1); if the tree would be larger than `max_bytes`.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Neal 2011, arXiv:1206.1901; Blanes, Casas & Sanz-Serna 2014, arXiv:1405.3153 (steps); Hoffman & Gelman 2014,
    arXiv:1111.4246 (step sizes); Vehtari et al. 2021, arXiv:1903.08008 (R-hat, ESS).

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> _ = torch.manual_seed(0)
    >>> tree = hmc(build(digits, latent_dim=2), digits.test, seed=0, num_warmup=100, num_samples=200)
    >>> tree["posterior"]["z"].dims
    ('chain', 'draw', 'obs', 'latent')
    >>> bool(tree["diagnostics"]["reliable"].all())
    True
    """
    plan = _Plan(num_chains, num_warmup, num_samples, num_steps, target_accept)
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        ((_, first),) = log_joints(program, split[:1], num_chains)
        kept = Chains.laid_out(first, split, num_chains, num_samples, max_bytes)
        volume = log_volume(program, split)
        began = time.perf_counter()
        total = len(split) * (num_warmup + num_samples)
        with progress_bar("HMC", total, "move", shown=progress) as bar:
            for rows, joint in log_joints(program, split, num_chains, max_rows=max_rows):
                _run(joint, volume[rows], plan, kept, rows, bar)
        attrs = attributes(program, split, used, num_samples=num_samples, num_chains=num_chains, num_steps=num_steps)
        attrs |= {"tuning_steps": num_warmup, "sampling_time": time.perf_counter() - began}
    attrs |= {"inference_library": "ppl_vae", "sampler": "HMC", "cannot_see": CANNOT_SEE}
    return to_tree({name: dataset.assign_attrs(attrs) for name, dataset in kept.datasets(split).items()})


@dataclass(frozen=True)
class _Plan:
    """Length and settings of a run."""

    num_chains: int
    num_warmup: int
    num_samples: int
    num_steps: int
    target_accept: float

    def __post_init__(self) -> None:
        if self.num_chains < 4 or self.num_chains % 2:
            raise ValueError(
                f"hmc expects an even number of chains from 4 on, got {self.num_chains}; half of them start from the "
                "prior: give num_chains=4 or more"
            )
        for name, least in (("num_warmup", 50), ("num_samples", FEWEST)):
            if getattr(self, name) < least:
                raise ValueError(f"hmc expects {name} of at least {least}, got {getattr(self, name)}; give more")


def _run(joint: LogJoint, log_volume: Tensor, plan: _Plan, kept: Chains, rows: slice, bar: Any) -> None:
    """Warm up, then keep what follows, for some of the data."""
    centre, variance = _spread(joint, plan.num_chains)
    log_volume = log_volume.to(centre)
    log_p = joint.gradients(lambda found: [found.log_joint - log_volume])
    values = Replayed(lambda u: list(joint.values(u).values()), by=folded)
    state = init(log_p, _starts(joint, centre, plan.num_chains))
    longest = TRAJECTORY / plan.num_steps
    learning = Adaptation(variance, plan.num_chains, plan.num_warmup, plan.target_accept, longest)
    moves = plan.num_steps, THREE_STAGE
    for _ in range(plan.num_warmup):
        state, info = transition(log_p, state, _jitter(learning.step_size), learning.inverse_mass, *moves)
        learning.update(info.accept_prob, state)
        bar.update(joint.size)
    u = torch.empty(plan.num_chains, plan.num_samples, *state.u.shape[1:], dtype=state.u.dtype)
    for draw in range(plan.num_samples):
        state, info = transition(log_p, state, _jitter(learning.learned), learning.inverse_mass, *moves)
        said = {"acceptance_rate": info.accept_prob, "diverging": info.diverging, "energy": info.energy}
        kept.keep(draw, rows, dict(zip(joint.layout, values(state.u), strict=True)), said | {"lp": state.log_p})
        u[:, draw] = state.u.cpu()
        bar.update(joint.size)
    kept.judge(rows, u, learning.learned.mean(0))


def _spread(joint: LogJoint, num_chains: int, num: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and variance of q, each (n, dim), from draws; 0 and 1 where they are not finite."""
    u = torch.cat([joint.from_guide(num_chains) for _ in range(math.ceil(num / num_chains))])
    smallest = torch.finfo(u.dtype).eps ** 2
    return u.mean(0).nan_to_num(0.0, 0.0, 0.0), u.var(0).nan_to_num(1.0, 1.0, 1.0).clamp_min(smallest)


def _starts(joint: LogJoint, centre: Tensor, num_chains: int) -> Tensor:
    """Half from the prior and half from a wide q, (chains, n, dim); draws that are not finite become q's mean."""
    half = num_chains // 2
    wide = centre + 1.75 * (joint.from_guide(half) - centre)
    u = torch.cat([joint.from_prior(half), wide])
    return u.where(u.isfinite(), centre)


def _jitter(step_size: Tensor) -> Tensor:
    """Randomized step sizes: trajectories of constant length may be periodic (Neal 2011, section 4.2)."""
    return step_size * (0.8 + 0.4 * torch.rand_like(step_size))


def _run_for(subject: Subject, _: Results) -> Any:
    """Two fifths of the length for warm-up, and half of it kept, but neither below 200 where the length is above.

    With a length of 500 they are the defaults.
    """
    num_warmup, num_samples = (max(min(subject.length, 200), share * subject.length // 10) for share in (4, 5))
    return hmc(subject.program, subject.chosen, num_warmup=num_warmup, num_samples=num_samples, **subject.options)


_FEW = 0.1  # share of the data above which a fault is reported against q


def _reliable(results: Results) -> np.ndarray:
    return group(results["hmc"], "diagnostics")["reliable"].values.astype(bool)


def _told(_: Subject, results: Results) -> list[str]:
    good = _reliable(results)
    lines = [f"Draws of HMC are reliable (R-hat at most 1.05) for {good.sum()} of {data(good.size)}."]
    if not good.all():
        lines.append(
            f"The posterior {'of the others ' if good.any() else ''}has several modes, or a shape that chains cross "
            "slowly, or the chains are too short."
        )
    return lines


def _against(results: Results) -> str:
    share = 1 - float(_reliable(results).mean())
    return f"chains of HMC disagree for {share:.0%} of the chosen data" if share > _FEW else ""


HMC = Diagnostic(
    name="hmc",
    question="Do chains of HMC from prior and q agree?",
    answers="`hmc`",
    reading="An R-hat above 1.05: several modes, or too short chains. Nothing computed from draws of q can tell",
    run=_run_for,
    verdict=_told,
    full=True,
    looks_for="draws of HMC",
    against=_against,
    apart=True,
)
