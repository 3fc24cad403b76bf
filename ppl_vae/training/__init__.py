"""Stochastic variational inference: fit, stop, store, resume, load."""

from ppl_vae.training.batches import Batch
from ppl_vae.training.fit import fit
from ppl_vae.training.fit_prior import fit_prior
from ppl_vae.training.fitted import Fit
from ppl_vae.training.load import Run, load
from ppl_vae.training.optim import OneCycle
from ppl_vae.training.state import State

__all__ = ["Batch", "Fit", "OneCycle", "Run", "State", "fit", "fit_prior", "load"]
