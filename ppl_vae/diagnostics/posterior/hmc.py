"""Draws from the true posterior of each datum, by Hamiltonian Monte Carlo: what q(z | x) is held against."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_vae.arguments import Count, Fraction, Seed, Whole
from ppl_vae.calls import verb
from ppl_vae.diagnostics.diagnostic import Diagnostic, Results, Subject
from ppl_vae.diagnostics.posterior.adaptation import Adaptation
from ppl_vae.diagnostics.posterior.chains import CANNOT_SEE, Chains
from ppl_vae.diagnostics.posterior.hmc_kernel import init, transition
from ppl_vae.diagnostics.posterior.log_joint import LogJoint, log_joints
from ppl_vae.diagnostics.results import attributes, group, to_tree
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.evaluation.wording import data
from ppl_vae.importance import FEWEST
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split

__all__ = ["HMC", "hmc"]

TRAJECTORY = 2.1  # posterior widths, a third of a turn: past a quarter, means gain as much as variances lose


@verb
def hmc(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    num_chains: Count = 8,
    num_warmup: Whole = 500,
    num_samples: Count = 500,
    num_steps: Count = 3,
    target_accept: Fraction = 0.8,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**29,
    progress: bool = True,
) -> Any:
    """The true posterior of each datum, sampled; wrong where `reliable` is false, and unseen where no chain came.

    All chains of all data move at once, each pair accepted or rejected on its own, with a step size of its own and a
    mass of the datum's own, learned in warm-up. Half of the chains start from the prior, the other half from q with
    1.75 times its spread: chains started from q alone agree on a q that misses a mode. Of two modes of equal weight,
    the four chains from the prior still all fall into q's for one datum in sixteen; more chains miss fewer.

    Parameters
    ----------
    program
        A `VAE`, a `Program`, or a module of your own with `.model` and `.guide`.
    x
        Data, (n, *x_shape), or a `Split`, whose `index` becomes the coordinate `obs`.
    *context
        What the data are conditioned on, each (n, ...).
    mask
        False where an element of x is missing.
    seed
        Seed of everything drawn; fresh entropy, recorded, if `None`.
    num_chains
        Chains a datum, an even number from 4 on: with two from each start, either can disagree with itself.
    num_warmup, num_samples
        Transitions of each chain that are thrown away, and that are kept; at least 50 and 25. So few that R-hat exceeds
        1.05 by chance are not enough, and `reliable` says so: with 50 of each, a third of Gaussian posteriors in 8
        dimensions are not reliable; with 200, all are.
    num_steps
        Leapfrog steps a transition, each at most 2.1 / num_steps of the posterior's width long: a trajectory is a
        third of a turn or less; a longer one comes back.
    target_accept
        Acceptance probability that warm-up aims at, where shorter steps are needed for it.
    max_rows
        Pairs of chain and datum moved at once; bounds the memory beside the result.
    max_bytes
        Largest tree that is made; the draws of `max_rows` pairs are there twice until they are judged.
    progress
        Show a progress bar, where there is a terminal.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        `posterior`: the latents by site, (chain, draw, obs, ...), the first half of the chains from the prior.
        `sample_stats`, (chain, draw, obs): `acceptance_rate`, `diverging`, `energy`, and `lp` = log p(x, u), with u
        the latents unconstrained and x in its original units, in nats. `diagnostics`, (obs,): `rhat`, the largest of
        all units of u; `ess`, the smallest, in draws; `reliable`, whether R-hat is at most 1.05, without which a datum
        belongs in no comparison: the chains disagree, or are too short to tell; `step_size`, the mean over chains, in
        posterior widths; `divergences`.

    Raises
    ------
    ValueError
        For discrete latents, a point-mass posterior or an improper prior; for an odd number of chains or one below
        4, too short a run, no steps, a target outside (0, 1); if the tree would be larger than `max_bytes`.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Neal 2011, arXiv:1206.1901; Hoffman & Gelman 2014, arXiv:1111.4246 (step sizes); Vehtari et al. 2021,
    arXiv:1903.08008 (R-hat, ESS).

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
        began = time.perf_counter()
        total = len(split) * (num_warmup + num_samples)
        with tqdm(total=total, unit="move", disable=None if progress else True, leave=False) as bar:
            for rows, joint in log_joints(program, split, num_chains, max_rows=max_rows):
                _run(joint, split.log_volume[rows], plan, kept, rows, bar)
        attrs = attributes(program, split, used, num_samples=num_samples, num_chains=num_chains, num_steps=num_steps)
        attrs |= {"tuning_steps": num_warmup, "sampling_time": time.perf_counter() - began}
    attrs |= {"inference_library": "ppl_vae", "sampler": "HMC", "cannot_see": CANNOT_SEE}
    return to_tree({name: dataset.assign_attrs(attrs) for name, dataset in kept.datasets(split).items()})


@dataclass(frozen=True)
class _Plan:
    """How long to run, and how."""

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

    def log_p(u: Tensor) -> Tensor:
        return joint(u).log_joint - log_volume

    state = init(log_p, _starts(joint, centre, plan.num_chains))
    longest = TRAJECTORY / plan.num_steps
    learning = Adaptation(variance, plan.num_chains, plan.num_warmup, plan.target_accept, longest)
    for _ in range(plan.num_warmup):
        state, info = transition(log_p, state, _jitter(learning.step_size), learning.inverse_mass, plan.num_steps)
        learning.update(info.accept_prob, state)
        bar.update(joint.size)
    u = torch.empty(plan.num_chains, plan.num_samples, *state.u.shape[1:], dtype=state.u.dtype)
    for draw in range(plan.num_samples):
        state, info = transition(log_p, state, _jitter(learning.learned), learning.inverse_mass, plan.num_steps)
        said = {"acceptance_rate": info.accept_prob, "diverging": info.diverging, "energy": info.energy}
        kept.keep(draw, rows, joint.values(state.u), said | {"lp": state.log_p})
        u[:, draw] = state.u.cpu()
        bar.update(joint.size)
    kept.judge(rows, u, learning.learned.mean(0))


def _spread(joint: LogJoint, num_chains: int, num: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and variance of q, each (n, dim), from draws; 0 and 1 where they are no numbers."""
    u = torch.cat([joint.from_guide(num_chains) for _ in range(math.ceil(num / num_chains))])
    smallest = torch.finfo(u.dtype).eps ** 2
    return u.mean(0).nan_to_num(0.0, 0.0, 0.0), u.var(0).nan_to_num(1.0, 1.0, 1.0).clamp_min(smallest)


def _starts(joint: LogJoint, centre: Tensor, num_chains: int) -> Tensor:
    """Half from the prior and half from a wide q, (chains, n, dim); a draw that is no number starts in q's middle."""
    half = num_chains // 2
    wide = centre + 1.75 * (joint.from_guide(half) - centre)
    u = torch.cat([joint.from_prior(half), wide])
    return u.where(u.isfinite(), centre)


def _jitter(step_size: Tensor) -> Tensor:
    """Steps of one length may turn in circles."""
    return step_size * (0.8 + 0.4 * torch.rand_like(step_size))


_FEW = 0.1  # share of the data above which a fault is one of q, not of some data


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
    run=lambda subject, _: hmc(
        subject.program, subject.chosen, num_warmup=subject.length, num_samples=subject.length, **subject.options
    ),
    verdict=_told,
    full=True,
    looks_for="draws of HMC",
    against=_against,
    apart=True,
)
