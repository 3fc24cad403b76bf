"""Plots: arrays or tables in, a Matplotlib Axes out.

Every function draws into the Axes it is given, or into a new figure, and returns the Axes; `embeddings`, of many
panels, always makes a figure. None shows, saves or restyles anything. Array arguments are whatever `numpy.asarray`
takes: NumPy arrays, PyTorch tensors on the CPU (detached), variables of an ArviZ tree.
"""

from ppl_vae.plots.brackets import bounds
from ppl_vae.plots.calibration import coverage, sbc_ecdf_difference
from ppl_vae.plots.curves import elbo_curves
from ppl_vae.plots.decoded import manifold, traversals
from ppl_vae.plots.denoising import denoising
from ppl_vae.plots.embeddings import embeddings
from ppl_vae.plots.factors import factor_importance
from ppl_vae.plots.gaps import gap_decomposition, gaps_by_guide
from ppl_vae.plots.latents import aggregate_posterior, latent_space
from ppl_vae.plots.marginals import aggregate_marginals
from ppl_vae.plots.pictures import images, reconstructions, samples
from ppl_vae.plots.posteriors import posterior_against_reference
from ppl_vae.plots.predictive import predictive_check
from ppl_vae.plots.reliability import pareto_k
from ppl_vae.plots.runs import nll_with_errors
from ppl_vae.plots.units import kl_per_unit, unit_activity
from ppl_vae.plots.walks import paths, walk
from ppl_vae.plots.worst import worst_fitted

__all__ = [
    "aggregate_marginals",
    "aggregate_posterior",
    "bounds",
    "coverage",
    "denoising",
    "elbo_curves",
    "embeddings",
    "factor_importance",
    "gap_decomposition",
    "gaps_by_guide",
    "images",
    "kl_per_unit",
    "latent_space",
    "manifold",
    "nll_with_errors",
    "pareto_k",
    "paths",
    "posterior_against_reference",
    "predictive_check",
    "reconstructions",
    "samples",
    "sbc_ecdf_difference",
    "traversals",
    "unit_activity",
    "walk",
    "worst_fitted",
]
