"""Diagnostics of q(z | x): how good it is and where it fails. Each result states what it cannot detect (`cannot_see`).

Diagnostics are called `f(program, x, *context, mask=True, seed=None, ...)`, where a program is a module with `.model`
and `.guide`, and return an xarray Dataset or an ArviZ tree; those that compare results take results of the others.
`diagnose` runs them all.
"""

import sys
import warnings
from importlib import import_module
from typing import Any

from ppl_vae.diagnostics.diagnose import DIAGNOSTICS, Diagnosis, diagnose
from ppl_vae.diagnostics.diagnostic import Diagnostic, Figure, Panel, Subject
from ppl_vae.diagnostics.evidence import Elpd, ais, bdmc, elpd, log_marginal_likelihood, log_weights
from ppl_vae.diagnostics.guide import (
    GuideCheck,
    check_guide,
    compare_posteriors,
    coverage,
    inference_gaps,
    posterior_pit,
    simulation_based_calibration,
    simultaneous_band,
)
from ppl_vae.diagnostics.latents import active_units, aggregated_posterior
from ppl_vae.diagnostics.model import posterior_predictive_check
from ppl_vae.diagnostics.posterior import hmc, quadrature_posterior
from ppl_vae.diagnostics.results import group, groups, open_tree, to_arviz, with_results
from ppl_vae.importance import good_k, psis

__all__ = [
    "DIAGNOSTICS",
    "Diagnosis",
    "Diagnostic",
    "Elpd",
    "Figure",
    "GuideCheck",
    "Panel",
    "Subject",
    "active_units",
    "aggregated_posterior",
    "ais",
    "bdmc",
    "check_guide",
    "compare_posteriors",
    "coverage",
    "diagnose",
    "elpd",
    "good_k",
    "group",
    "groups",
    "hmc",
    "inference_gaps",
    "log_marginal_likelihood",
    "log_weights",
    "open_tree",
    "posterior_pit",
    "posterior_predictive_check",
    "psis",
    "quadrature_posterior",
    "simulation_based_calibration",
    "simultaneous_band",
    "to_arviz",
    "with_results",
]

_MOVED = {
    "evidence": "annealing quadrature",
    "posterior": "adaptation chains grid latent_sites log_joint",
    "guide": "ecdf families ranks refinement",
    "latents": "marginals",
    "model": "replicates simulate statistics",
    "results": "arviz_io datasets",
}


def __getattr__(name: str) -> Any:
    """Modules by the names that they had before there were rooms, and `compare`, for one version."""
    if name == "compare":
        warnings.warn(
            "ppl_vae.diagnostics.compare is ppl_vae.compare now, in nats per datum; use that",
            DeprecationWarning,
            stacklevel=2,
        )
        return import_module("ppl_vae.diagnostics.evidence.compare").compare
    for room, names in _MOVED.items():
        if name in names.split():
            now = f"ppl_vae.diagnostics.{room}.{name}"
            warnings.warn(f"ppl_vae.diagnostics.{name} is {now} now; import that", DeprecationWarning, stacklevel=2)
            return sys.modules[now]  # the rooms have imported them
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
