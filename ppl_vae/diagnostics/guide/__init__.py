"""Is q(z | x) the posterior: k-hat and the KL gap, inference gaps, ranks, coverage, draws compared.

The report reads a `GuideCheck`; no other room imports from here.
"""

from ppl_vae.diagnostics.guide.check_guide import GuideCheck, Report, check_guide
from ppl_vae.diagnostics.guide.compare_posteriors import COMPARE_POSTERIORS, compare_posteriors, panel
from ppl_vae.diagnostics.guide.coverage import COVERAGE_REAL, COVERAGE_SIMULATED, coverage
from ppl_vae.diagnostics.guide.ecdf import simultaneous_band
from ppl_vae.diagnostics.guide.inference_gaps import INFERENCE_GAPS, gaps_panel, inference_gaps
from ppl_vae.diagnostics.guide.posterior_pit import POSTERIOR_PIT, posterior_pit
from ppl_vae.diagnostics.guide.sbc import SBC, rank_panel, simulation_based_calibration

__all__ = [
    "COMPARE_POSTERIORS",
    "COVERAGE_REAL",
    "COVERAGE_SIMULATED",
    "INFERENCE_GAPS",
    "POSTERIOR_PIT",
    "SBC",
    "GuideCheck",
    "Report",
    "check_guide",
    "compare_posteriors",
    "coverage",
    "gaps_panel",
    "inference_gaps",
    "panel",
    "posterior_pit",
    "rank_panel",
    "simulation_based_calibration",
    "simultaneous_band",
]
