"""Plots: arrays or tables in, a Matplotlib Axes out.

Every function draws into the Axes it is given, or into a new figure, and returns the Axes; `embeddings` and `draw`, of
many panels, always make a figure. None shows, saves or restyles anything. Array arguments are whatever `numpy.asarray`
takes: NumPy arrays, PyTorch tensors on the CPU (detached), variables of an ArviZ tree.
"""

from ppl_vae.plots.aggregate_marginals import aggregate_marginals
from ppl_vae.plots.aggregate_posterior import aggregate_posterior
from ppl_vae.plots.bounds import bounds
from ppl_vae.plots.coverage import coverage
from ppl_vae.plots.denoising import denoising
from ppl_vae.plots.draw import draw
from ppl_vae.plots.elbo_curves import elbo_curves
from ppl_vae.plots.embeddings import embeddings
from ppl_vae.plots.factor_importance import factor_importance
from ppl_vae.plots.gap_decomposition import gap_decomposition
from ppl_vae.plots.gaps_by_guide import gaps_by_guide
from ppl_vae.plots.images import images
from ppl_vae.plots.kl_per_unit import kl_per_unit
from ppl_vae.plots.latent_space import latent_space
from ppl_vae.plots.manifold import manifold
from ppl_vae.plots.nll_with_errors import nll_with_errors
from ppl_vae.plots.pareto_k import pareto_k
from ppl_vae.plots.paths import paths
from ppl_vae.plots.posterior_against_reference import posterior_against_reference
from ppl_vae.plots.predictive_check import predictive_check
from ppl_vae.plots.reconstructions import reconstructions
from ppl_vae.plots.samples import samples
from ppl_vae.plots.sbc_ecdf_difference import sbc_ecdf_difference
from ppl_vae.plots.traversals import traversals
from ppl_vae.plots.unit_activity import unit_activity
from ppl_vae.plots.walk import walk
from ppl_vae.plots.worst_fitted import worst_fitted

__all__ = [
    "aggregate_marginals",
    "aggregate_posterior",
    "bounds",
    "coverage",
    "denoising",
    "draw",
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
