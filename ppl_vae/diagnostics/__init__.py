"""How good is q(z | x), and where does it fail: every diagnostic takes a program and data, and says what it cannot see.

All are called `f(program, x, *context, mask=True, seed=None, ...)`, where a program is anything with `.model` and
`.guide`, and return an xarray Dataset or an ArviZ tree; those that compare results take what the others returned.
`diagnose` runs them all.
"""

from ppl_vae.diagnostics.active_units import active_units
from ppl_vae.diagnostics.aggregated_posterior import aggregated_posterior
from ppl_vae.diagnostics.ais import ais
from ppl_vae.diagnostics.arviz_io import group, groups
from ppl_vae.diagnostics.bdmc import bdmc
from ppl_vae.diagnostics.calibration import simulation_based_calibration
from ppl_vae.diagnostics.check_guide import GuideCheck, check_guide
from ppl_vae.diagnostics.compare import compare
from ppl_vae.diagnostics.compare_posteriors import compare_posteriors
from ppl_vae.diagnostics.coverage import coverage
from ppl_vae.diagnostics.diagnose import Diagnosis, diagnose
from ppl_vae.diagnostics.ecdf import simultaneous_band
from ppl_vae.diagnostics.elpd import Elpd, elpd
from ppl_vae.diagnostics.export import to_arviz
from ppl_vae.diagnostics.hmc import hmc
from ppl_vae.diagnostics.inference_gaps import inference_gaps
from ppl_vae.diagnostics.log_marginal_likelihood import log_marginal_likelihood
from ppl_vae.diagnostics.log_weights import log_weights
from ppl_vae.diagnostics.posterior_pit import posterior_pit
from ppl_vae.diagnostics.predictive_check import posterior_predictive_check
from ppl_vae.diagnostics.quadrature_posterior import quadrature_posterior
from ppl_vae.diagnostics.stored import open_tree
from ppl_vae.diagnostics.with_results import with_results
from ppl_vae.importance import good_k, psis

__all__ = [
    "Diagnosis",
    "Elpd",
    "GuideCheck",
    "active_units",
    "aggregated_posterior",
    "ais",
    "bdmc",
    "check_guide",
    "compare",
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
