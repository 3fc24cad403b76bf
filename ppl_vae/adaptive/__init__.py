"""Importance sampling with a proposal fitted to each datum, for data that q is wrong for."""

from ppl_vae.adaptive.adapt import Adapted, Settings, adapt, pareto_k
from ppl_vae.adaptive.density import Density
from ppl_vae.adaptive.improve import Improved, fitted, improve, missed_by_q
from ppl_vae.adaptive.probe import Probe
from ppl_vae.adaptive.refine import Refined, refine, refined_draws
from ppl_vae.adaptive.student import Defensive, Student

__all__ = [
    "Adapted",
    "Defensive",
    "Density",
    "Improved",
    "Probe",
    "Refined",
    "Settings",
    "Student",
    "adapt",
    "fitted",
    "improve",
    "missed_by_q",
    "pareto_k",
    "refine",
    "refined_draws",
]
