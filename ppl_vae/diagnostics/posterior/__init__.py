"""p(z | x) itself: its unnormalized log density in the latents' coordinates, and draws from it by HMC or on a grid.

Other rooms import the log joint, the latents' sites and their bijections, grids, and the kernel of HMC.
"""

from ppl_vae.diagnostics.posterior.adaptive_grid import adaptive_grid
from ppl_vae.diagnostics.posterior.grid import Grid
from ppl_vae.diagnostics.posterior.hmc import HMC, hmc
from ppl_vae.diagnostics.posterior.latent_sites import LatentSites, free_of_others, unit_log_prob
from ppl_vae.diagnostics.posterior.quadrature_posterior import QUADRATURE_POSTERIOR, quadrature_posterior
from ppl_vae.unconstrained.hmc_kernel import LogDensity, init, transition
from ppl_vae.unconstrained.log_joint import LogJoint, bijection, log_joints

__all__ = [
    "HMC",
    "QUADRATURE_POSTERIOR",
    "Grid",
    "LatentSites",
    "LogDensity",
    "LogJoint",
    "adaptive_grid",
    "bijection",
    "free_of_others",
    "hmc",
    "init",
    "log_joints",
    "quadrature_posterior",
    "transition",
    "unit_log_prob",
]
