"""Bounds and log p(x) with error bars, tables of them, imputation, disentanglement and image quality."""

from ppl_vae.evaluation.compare import compare
from ppl_vae.evaluation.disentanglement import disentanglement
from ppl_vae.evaluation.evaluate import evaluate
from ppl_vae.evaluation.factor_scores import FactorScores, factor_scores
from ppl_vae.evaluation.factor_vae import factor_vae_score
from ppl_vae.evaluation.image_quality import image_quality
from ppl_vae.evaluation.imputation import Imputation
from ppl_vae.evaluation.imputation_scores import imputation_scores
from ppl_vae.evaluation.impute import impute
from ppl_vae.evaluation.per_column import per_column
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.evaluation.units import kl_per_unit

__all__ = [
    "Evaluation",
    "FactorScores",
    "Imputation",
    "compare",
    "disentanglement",
    "evaluate",
    "factor_scores",
    "factor_vae_score",
    "image_quality",
    "imputation_scores",
    "impute",
    "kl_per_unit",
    "per_column",
]
