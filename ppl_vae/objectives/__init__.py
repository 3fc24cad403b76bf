"""Objectives, as Pyro ELBOs; and beta, the weight of the KL while training.

An objective sees only traces. Free bits change the objective, beta the measure, IWAE the estimator; the penalties of
autoencoders are added to the ELBO's loss.
"""

import warnings
from typing import Any

from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from ppl_vae.objectives.beta import BetaSchedule, Constant, Cyclical, Linear
from ppl_vae.objectives.capacity import Capacity
from ppl_vae.objectives.check import check
from ppl_vae.objectives.commitment import Commitment
from ppl_vae.objectives.contractive import Contractive
from ppl_vae.objectives.free_bits import FreeBits
from ppl_vae.objectives.grouped import CIWAE, PIWAE, GroupedIWAE
from ppl_vae.objectives.info_vae import InfoVAE
from ppl_vae.objectives.iwae import IWAE
from ppl_vae.objectives.path import STL, DReG
from ppl_vae.objectives.renyi import Renyi
from ppl_vae.objectives.rws import RWS
from ppl_vae.objectives.tcvae import BetaTCVAE
from ppl_vae.objectives.wake_sleep import WakeSleep

__all__ = [
    "CIWAE",
    "IWAE",
    "PIWAE",
    "RWS",
    "STL",
    "BetaSchedule",
    "BetaTCVAE",
    "Capacity",
    "Commitment",
    "Constant",
    "Contractive",
    "Cyclical",
    "DReG",
    "FreeBits",
    "GroupedIWAE",
    "InfoVAE",
    "Linear",
    "Renyi",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "WakeSleep",
    "check",
]


def __getattr__(name: str) -> Any:
    if name == "Beta":
        warnings.warn("ppl_vae.objectives.Beta is now BetaSchedule; use that name", DeprecationWarning, stacklevel=2)
        return BetaSchedule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
