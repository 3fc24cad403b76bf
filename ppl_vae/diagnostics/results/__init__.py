"""Results of diagnostics: datasets with units and attributes, and ArviZ trees of either version.

This room uses programs only through `draws`; every other room may import the names exported here.
"""

from ppl_vae.arguments import checked
from ppl_vae.diagnostics.results import arviz_io
from ppl_vae.diagnostics.results.arviz_io import is_tree, to_tree
from ppl_vae.diagnostics.results.convergence import ess, ess_of_mean, rhat
from ppl_vae.diagnostics.results.datasets import attributes, of_draws, with_units
from ppl_vae.diagnostics.results.open_tree import open_tree
from ppl_vae.diagnostics.results.to_arviz import to_arviz
from ppl_vae.diagnostics.results.with_results import with_results

group, groups = checked(arviz_io.group), checked(arviz_io.groups)

__all__ = [
    "arviz_io",
    "attributes",
    "ess",
    "ess_of_mean",
    "group",
    "groups",
    "is_tree",
    "of_draws",
    "open_tree",
    "rhat",
    "to_arviz",
    "to_tree",
    "with_results",
    "with_units",
]
