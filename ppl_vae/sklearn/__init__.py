"""Autoencoders as scikit-learn estimators: codes, densities, missing values and outliers."""

from ppl_vae.sklearn.autoencoder import Autoencoder
from ppl_vae.sklearn.imputer import Imputer
from ppl_vae.sklearn.outliers import OutlierDetector
from ppl_vae.sklearn.variational import VariationalAutoencoder

__all__ = ["Autoencoder", "Imputer", "OutlierDetector", "VariationalAutoencoder"]
