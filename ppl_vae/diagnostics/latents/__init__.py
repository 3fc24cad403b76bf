"""What the latents are used for: active units, and the aggregated posterior q(z) beside the prior.

No other room imports from here.
"""

from ppl_vae.diagnostics.latents.active_units import active_units
from ppl_vae.diagnostics.latents.aggregated_posterior import aggregated_posterior

__all__ = ["active_units", "aggregated_posterior"]
