"""How good is q(z | x): draws, weights and verdicts as an ArviZ tree."""

from ppl_vae.diagnostics.arviz_io import groups, open_tree
from ppl_vae.diagnostics.export import to_arviz
from ppl_vae.importance import good_k, psis

__all__ = ["good_k", "groups", "open_tree", "psis", "to_arviz"]
