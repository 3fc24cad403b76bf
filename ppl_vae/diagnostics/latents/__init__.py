"""What the latents are used for: active units, and the aggregated posterior q(z) beside the prior.

No other room imports from here.
"""

from ppl_vae.diagnostics.latents.active_units import ACTIVE_UNITS, active_units
from ppl_vae.diagnostics.latents.aggregated_posterior import AGGREGATED_POSTERIOR, aggregated_posterior

__all__ = ["ACTIVE_UNITS", "AGGREGATED_POSTERIOR", "active_units", "aggregated_posterior"]
