"""Is q(z | x) the posterior: k-hat and the KL gap, inference gaps, ranks, coverage, draws compared.

The report reads a `GuideCheck`; no other room imports from here.
"""

from ppl_vae.diagnostics.guide.check_guide import GuideCheck, Report, check_guide
from ppl_vae.diagnostics.guide.compare_posteriors import compare_posteriors
from ppl_vae.diagnostics.guide.coverage import coverage
from ppl_vae.diagnostics.guide.ecdf import simultaneous_band
from ppl_vae.diagnostics.guide.inference_gaps import inference_gaps
from ppl_vae.diagnostics.guide.posterior_pit import posterior_pit
from ppl_vae.diagnostics.guide.sbc import simulation_based_calibration

__all__ = [
    "GuideCheck",
    "Report",
    "check_guide",
    "compare_posteriors",
    "coverage",
    "inference_gaps",
    "posterior_pit",
    "simulation_based_calibration",
    "simultaneous_band",
]
