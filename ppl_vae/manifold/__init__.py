"""Manifold learning: methods side by side, walks on the decoded manifold, and their lengths."""

from ppl_vae.manifold.benchmark import Benchmark, benchmark
from ppl_vae.manifold.distance_correlation import distance_correlation
from ppl_vae.manifold.geodesics import Geodesic, geodesic
from ppl_vae.manifold.methods import Method, methods
from ppl_vae.manifold.pullback import decoded, magnification, metric, step_lengths
from ppl_vae.manifold.scores import continuity, neighbours_right, rmse, trustworthiness
from ppl_vae.manifold.smoothness import smoothness
from ppl_vae.manifold.walks import code_grid, interpolate, traverse

__all__ = [
    "Benchmark",
    "Geodesic",
    "Method",
    "benchmark",
    "code_grid",
    "continuity",
    "decoded",
    "distance_correlation",
    "geodesic",
    "interpolate",
    "magnification",
    "methods",
    "metric",
    "neighbours_right",
    "rmse",
    "smoothness",
    "step_lengths",
    "traverse",
    "trustworthiness",
]
