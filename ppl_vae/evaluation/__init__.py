"""Numbers that can be published: bounds and log p(x) with error bars, and tables of them."""

from ppl_vae.evaluation.compare import compare
from ppl_vae.evaluation.evaluate import evaluate
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.evaluation.units import kl_per_unit

__all__ = ["Evaluation", "compare", "evaluate", "kl_per_unit"]
