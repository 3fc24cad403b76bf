"""Stochastic variational inference: fit, stop, store, resume."""

from ppl_vae.training.batches import Batch
from ppl_vae.training.fit import Fit, fit
from ppl_vae.training.fit_prior import fit_prior
from ppl_vae.training.loop import State
from ppl_vae.training.optim import OneCycle
from ppl_vae.training.run import Run, load

__all__ = ["Batch", "Fit", "OneCycle", "Run", "State", "fit", "fit_prior", "load"]
