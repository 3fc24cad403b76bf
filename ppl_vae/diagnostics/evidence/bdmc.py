"""Bidirectional Monte Carlo: lower and upper bounds on log p(x) of data simulated from the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.evidence.ais import check_annealing
from ppl_vae.diagnostics.model import simulated
from ppl_vae.diagnostics.posterior import log_joints
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.importance import log_marginal
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.progress import progress_bar
from ppl_vae.split import Split
from ppl_vae.unconstrained.annealing import Path, Settings, anneal, num_pilot, schedule

__all__ = ["bdmc"]


@verb
def bdmc(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    seed: Seed | None = None,
    init: str = "prior",
    num_simulations: Count = 100,
    num_temperatures: Count = 500,
    num_chains: Count = 8,
    num_steps: Count = 1,
    max_rows: Count = 10_000,
    progress: bool = True,
) -> xr.Dataset:
    """Lower and upper bounds on the mean log p(x) of simulated data; for real x there is no upper bound.

    Pairs (z, x) are drawn from the model, so that z is an exact draw from p(z | x). Annealing from the prior (or q) to
    the posterior gives a lower bound on log p(x), annealing back from z an upper bound, both in expectation. The gap
    bounds the error of annealing with these settings. It applies to real data only as far as simulated data resemble
    them; for a single datum either bound may be violated by chance.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`. The model must observe exactly x. The simulated data take their shape from x, and context and
        mask from each datum in turn. `max_rows` counts simulated data, and pairs of chain and datum.
    init
        ``"prior"`` or ``"guide"``: where the forward chains start.
    num_simulations
        Data simulated, two or more.
    num_temperatures, num_chains, num_steps
        See `ais`; the cost is that of one run more, 1.5 to 1.8 times as high.

    Returns
    -------
    xarray.Dataset
        By `simulation`: `lower`, `upper` and `gap` (nats, for x in its original units). Their
        means over the simulations with standard errors as `lower_mean`, `lower_se` and so on.

    Raises
    ------
    ValueError
        For fewer than two simulations; for a model that does not observe x, unchanged, at a single site; for whatever
        `ais` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    References
    ----------
    Grosse, Ghahramani & Adams 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> digits = data.load("digits").binarize("threshold").take(test=2)
    >>> _ = torch.manual_seed(0)
    >>> found = bdmc(build(digits, latent_dim=2), digits.test, num_simulations=10, num_temperatures=50, seed=0)
    >>> abs(float(found.gap_mean)) < 0.1
    True
    """
    check_annealing("bdmc", init, num_temperatures, num_chains, num_steps)
    if num_simulations < 2:
        raise ValueError(f"bdmc expects two simulations or more, got {num_simulations}; give num_simulations=100")
    betas = schedule(num_temperatures)
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        values, data = simulated(program, split, num_simulations, max_rows=max_rows)
        bounds = torch.empty(2, num_simulations, dtype=torch.float64)
        total = (2 * num_temperatures + num_pilot(num_temperatures)) * num_simulations
        with progress_bar("BDMC", total, "step", shown=progress, unit_scale=True) as bar:
            for rows, joint in log_joints(program, data, num_chains, max_rows=max_rows):
                path = Path(joint, from_guide=init == "guide")
                settings = Settings.tuned(path, betas, num_chains, num_steps, bar)
                forward, _ = anneal(path, path.draws(num_chains), betas, settings, bar)
                exact = joint.unconstrained({name: z[None, rows] for name, z in values.items()})
                exact = exact.expand(num_chains, -1, -1)
                backward, _ = anneal(path, exact, betas[::-1], settings.reversed, bar)
                bounds[0, rows] = log_marginal(forward).estimate.cpu()
                bounds[1, rows] = -log_marginal(backward).estimate.cpu()
        lower, upper = bounds - data.log_volume
        return with_units(
            _with_means({"lower": lower, "upper": upper, "gap": upper - lower}),
            {},
            cannot_see="anything of real data: the bounds hold for data simulated from the model, where z is known",
            **attributes(program, data, used, init=init, num_temperatures=num_temperatures, num_chains=num_chains),
        )


def _with_means(bounds: dict[str, Tensor]) -> dict[str, tuple[tuple[str, ...], Tensor, str]]:
    """Bounds of each simulation, their means, and the standard errors of the means, in nats."""
    se = {name: v.std() / math.sqrt(len(v)) for name, v in bounds.items()}
    return {
        **{name: (("simulation",), v, "nats") for name, v in bounds.items()},
        **{f"{name}_mean": ((), v.mean(), "nats") for name, v in bounds.items()},
        **{f"{name}_se": ((), v, "nats") for name, v in se.items()},
    }
