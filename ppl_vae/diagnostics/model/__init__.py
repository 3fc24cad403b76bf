"""Fit of p(x) to the data: predictive checks, their statistics, and data simulated from the model.

Other rooms import `simulated` only.
"""

from ppl_vae.diagnostics.model.predictive_check import (
    PREDICTIVE_CHECK,
    PREDICTIVE_CHECK_DATUM,
    posterior_predictive_check,
)
from ppl_vae.diagnostics.model.simulate import simulated

__all__ = ["PREDICTIVE_CHECK", "PREDICTIVE_CHECK_DATUM", "posterior_predictive_check", "simulated"]
