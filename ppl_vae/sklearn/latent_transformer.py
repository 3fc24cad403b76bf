"""The base of the estimators of codes: maps X to codes and back."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ppl_vae.calls import method
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.estimator import TableEstimator, check_complete
from ppl_vae.split import Split

__all__ = ["LatentTransformer"]


class LatentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, TableEstimator):
    """X to codes z and back, by a VAE.

    A row's code does not depend on the rows it is computed with.
    """

    @method
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Codes of X: the mean of q(z | x).

        Where the mean has no formula (IAF), that of 100 draws, with the same noise for every row and every call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Codes.
        """
        return self._codes(self._data(X)).cpu().numpy()

    @method
    def inverse_transform(self, X: ArrayLike) -> np.ndarray | pd.DataFrame:
        """Decoded data E[x | z], in the units of X; for categories the most probable one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features), or DataFrame
            Data; a frame if X in `fit` was one with text, categories or dates.
        """
        check_is_fitted(self)
        check_complete(X)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} features, but {type(self).__name__}.inverse_transform is expecting "
                f"{self._n_features_out} codes as input; give what transform returned"
            )
        with torch.no_grad():
            decoded = self.vae_.likelihood.typical(self.vae_.decode(torch.tensor(codes)))
        return self.columns_.returned(self.columns_.raw(decoded), getattr(X, "index", None))

    def _after_fit(self, table: np.ndarray, train: Callable[[np.ndarray], None]) -> None:
        self._n_features_out = self.n_components

    def _codes(self, data: Split) -> Tensor:
        return rowwise.codes(self.vae_, data, 100, self._seed)
