"""Variational autoencoders as Pyro `model` and `guide`: any prior, likelihood and posterior, one contract."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ppl_vae import corruptions, data, diagnostics, likelihoods, objectives
from ppl_vae.conditional import Amortized, Chain, Conditional
from ppl_vae.corruptions import Corruption, GaussianNoise, Masking, SaltAndPepper
from ppl_vae.diagnostics import check_guide, diagnose, to_arviz
from ppl_vae.domain import Domain
from ppl_vae.evaluation import Evaluation, Imputation, compare, evaluate, impute
from ppl_vae.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    CorrelatedGaussian,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gamma,
    Gaussian,
    Heterogeneous,
    Likelihood,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    OrderedLogistic,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from ppl_vae.nets import (
    MLP,
    Conv1dDecoder,
    Conv1dEncoder,
    ConvDecoder,
    ConvEncoder,
    GatedMLP,
    GRUDecoder,
    GRUEncoder,
)
from ppl_vae.posteriors import IAF, DiagonalNormal, FullRankNormal, Point, Posterior, TopK, VectorQuantized
from ppl_vae.priors import (
    CodePrior,
    ConditionalNormal,
    Flat,
    FlowPrior,
    GaussianMixture,
    Laplace,
    Prior,
    StandardNormal,
    VampPrior,
)
from ppl_vae.training import Batch, Fit, OneCycle, Run, fit, fit_prior, load
from ppl_vae.vae import VAE, DataSpec, Program, build

__all__ = [
    "IAF",
    "MLP",
    "VAE",
    "Amortized",
    "Batch",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Chain",
    "CodePrior",
    "Conditional",
    "ConditionalNormal",
    "ContinuousBernoulli",
    "Conv1dDecoder",
    "Conv1dEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "CorrelatedGaussian",
    "Corruption",
    "DataSpec",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Domain",
    "Evaluation",
    "Fit",
    "Flat",
    "FlowPrior",
    "FullRankNormal",
    "GRUDecoder",
    "GRUEncoder",
    "Gamma",
    "GatedMLP",
    "Gaussian",
    "GaussianMixture",
    "GaussianNoise",
    "Heterogeneous",
    "Imputation",
    "Laplace",
    "Likelihood",
    "LogNormal",
    "Masking",
    "Multinomial",
    "NegativeBinomial",
    "OneCycle",
    "OrderedLogistic",
    "Point",
    "Poisson",
    "Posterior",
    "Prior",
    "Program",
    "Run",
    "SaltAndPepper",
    "StandardNormal",
    "StudentT",
    "TopK",
    "VampPrior",
    "VectorQuantized",
    "ZeroInflatedNegativeBinomial",
    "build",
    "check_guide",
    "compare",
    "corruptions",
    "data",
    "diagnose",
    "diagnostics",
    "evaluate",
    "fit",
    "fit_prior",
    "impute",
    "likelihoods",
    "load",
    "manifold",
    "objectives",
    "sklearn",
    "to_arviz",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ppl_vae import manifold, sklearn
else:

    def __getattr__(name: str) -> Any:
        """The modules that need scikit-learn, imported at their first use."""
        if name in ("manifold", "sklearn"):
            return import_module(f"ppl_vae.{name}")
        raise AttributeError(f"module 'ppl_vae' has no attribute {name!r}")
