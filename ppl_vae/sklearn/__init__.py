"""Autoencoders as scikit-learn estimators, for those who think in `fit` and `transform`."""

from ppl_vae.sklearn.autoencoder import Autoencoder
from ppl_vae.sklearn.variational import VariationalAutoencoder

__all__ = ["Autoencoder", "VariationalAutoencoder"]
