"""log p(x, z) of unconstrained latents: the density, transitions of HMC, and annealing from the prior or q."""

from ppl_vae.unconstrained.annealing import Path, Settings, Tempered, anneal, num_pilot, schedule
from ppl_vae.unconstrained.hmc_kernel import (
    LEAPFROG,
    THREE_STAGE,
    TWO_STAGE,
    Info,
    Integrator,
    LogDensity,
    State,
    init,
    transition,
)
from ppl_vae.unconstrained.log_joint import LogDensities, LogJoint, bijection, gradient, log_joints, with_gradients

__all__ = [
    "LEAPFROG",
    "THREE_STAGE",
    "TWO_STAGE",
    "Info",
    "Integrator",
    "LogDensities",
    "LogDensity",
    "LogJoint",
    "Path",
    "Settings",
    "State",
    "Tempered",
    "anneal",
    "bijection",
    "gradient",
    "init",
    "log_joints",
    "num_pilot",
    "schedule",
    "transition",
    "with_gradients",
]
