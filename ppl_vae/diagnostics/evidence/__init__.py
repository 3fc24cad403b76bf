"""log p(x) by importance sampling, annealing or quadrature.

No other room imports from here.
"""

from ppl_vae.diagnostics.evidence.ais import AIS_GUIDE, AIS_PRIOR, ais
from ppl_vae.diagnostics.evidence.bdmc import bdmc
from ppl_vae.diagnostics.evidence.elpd import Elpd, elpd
from ppl_vae.diagnostics.evidence.log_marginal_likelihood import log_marginal_likelihood
from ppl_vae.diagnostics.evidence.log_weights import log_weights
from ppl_vae.diagnostics.evidence.next_step import NEXT_STEP

__all__ = [
    "AIS_GUIDE",
    "AIS_PRIOR",
    "NEXT_STEP",
    "Elpd",
    "ais",
    "bdmc",
    "elpd",
    "log_marginal_likelihood",
    "log_weights",
]
