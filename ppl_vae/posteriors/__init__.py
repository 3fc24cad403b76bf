"""Posteriors q(z | x), their parameters computed by an encoder."""

from ppl_vae.posteriors.iaf import IAF
from ppl_vae.posteriors.normal import DiagonalNormal, FullRankNormal
from ppl_vae.posteriors.point import Point, TopK
from ppl_vae.posteriors.posterior import Posterior
from ppl_vae.posteriors.vector_quantized import VectorQuantized

__all__ = ["IAF", "DiagonalNormal", "FullRankNormal", "Point", "Posterior", "TopK", "VectorQuantized"]
