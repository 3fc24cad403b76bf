"""p(z) p(x | z) and q(z | x) as Pyro functions, from components or written by the user."""

from ppl_vae.vae.build import build
from ppl_vae.vae.data_spec import DataSpec
from ppl_vae.vae.program import Program
from ppl_vae.vae.semi_amortized import semi_amortized
from ppl_vae.vae.vae import VAE

__all__ = ["VAE", "DataSpec", "Program", "build", "semi_amortized"]
