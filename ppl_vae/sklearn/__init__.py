"""Autoencoders as scikit-learn estimators, with `fit` and `transform`."""

from ppl_vae.sklearn.autoencoder import Autoencoder
from ppl_vae.sklearn.variational import VariationalAutoencoder

__all__ = ["Autoencoder", "VariationalAutoencoder"]
