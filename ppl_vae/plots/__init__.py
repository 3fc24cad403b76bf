"""Plots: arrays or tables in, a Matplotlib Axes out.

Every function draws into the Axes it is given, or into a new figure, and returns the Axes. None shows, saves
or restyles anything. Array arguments are whatever `numpy.asarray` takes: NumPy arrays, PyTorch tensors on the
CPU (detached), variables of an ArviZ tree.
"""

from ppl_vae.plots.curves import elbo_curves
from ppl_vae.plots.decoded import manifold, traversals
from ppl_vae.plots.latents import aggregate_posterior, latent_space
from ppl_vae.plots.pictures import images, reconstructions, samples
from ppl_vae.plots.reliability import pareto_k
from ppl_vae.plots.runs import nll_with_errors
from ppl_vae.plots.units import kl_per_unit

__all__ = [
    "aggregate_posterior",
    "elbo_curves",
    "images",
    "kl_per_unit",
    "latent_space",
    "manifold",
    "nll_with_errors",
    "pareto_k",
    "reconstructions",
    "samples",
    "traversals",
]
