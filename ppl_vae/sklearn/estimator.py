"""The base of the estimators: builds a VAE for the columns of X, trains it, and maps X to codes and back."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

import abc
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from pyro.infer import ELBO
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.optim import Adam

from ppl_vae import traces, training
from ppl_vae.calls import method
from ppl_vae.domain import Domain
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.columns import Columns
from ppl_vae.sklearn.networks import check_widths, network
from ppl_vae.split import Split
from ppl_vae.tensors import missing_in
from ppl_vae.training.device import chosen_device
from ppl_vae.vae import VAE, build

__all__ = ["LatentTransformer"]

Factory = Callable[..., Any]


class LatentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, abc.ABC):
    """X to codes z and back, by a VAE; the base of the estimators.

    In float64, in which a row's code does not depend on the rows it is computed with.
    """

    n_components: int
    prior: Factory
    posterior: Factory
    likelihood: Factory
    net: Factory
    hidden_dims: Sequence[int]
    activation: str
    corruption: Factory | None
    objective: ELBO | type[ELBO]
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    validation_fraction: float
    random_state: int | np.random.RandomState | None
    device: str

    vae_: VAE
    columns_: Columns
    history_: pd.DataFrame
    n_iter_: int
    n_features_in_: int

    @abc.abstractmethod
    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        """Further arguments of `training.fit`; refuses a posterior that belongs to the other estimator."""

    @method
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data; at least two rows, and as many as codes.
        y : Ignored
            Present for the API.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For settings out of range, for X that is no finite table of numbers with enough rows or lies outside the
            likelihood's support, and for parts that do not fit together.
        TypeError
            For a sparse X, and for settings of another type.
        """
        self._check_settings()
        _check_complete(X)
        table: np.ndarray = validate_data(self, X, dtype=np.float64, ensure_min_samples=max(2, self.n_components))
        random = check_random_state(self.random_state)
        weights_seed, fit_seed, self._seed = random.randint(2**31 - 1, size=3).tolist()
        columns = Columns.of(table, self.likelihood)
        train, held_out = self._divided(columns.split(table), random)
        vae = self._built(train, columns.domain, weights_seed)
        with _without_shapes():
            result = training.fit(
                vae,
                train,
                validation=held_out,
                epochs=self.epochs,
                batch_size=self.batch_size,
                objective=self.objective,
                optimizer=partial(Adam, lr=self.learning_rate, fused=True),
                patience=self.patience,
                seed=fit_seed,
                device=self.device,
                progress=False,
                **self._fit_settings(vae, rowwise.posterior_sites(vae, train[:1])),
            )
        self.vae_, self.columns_ = vae.eval(), columns
        self.history_, self.n_iter_ = result.history, len(result.history)
        self._n_features_out = self.n_components
        return self

    @method
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Codes of X: the mean of q(z | x).

        Where it has no formula (IAF) it is the mean of 100 draws, the same noise for every row and every call.

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
    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Decoded data E[x | z], in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Data.
        """
        check_is_fitted(self)
        _check_complete(X)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} features, but {type(self).__name__}.inverse_transform is expecting "
                f"{self._n_features_out} codes as input; give what transform returned"
            )
        with torch.no_grad():
            return self.columns_.raw(self.vae_.decode(torch.tensor(codes)).mean)

    def _data(self, X: ArrayLike) -> Split:
        """X as the fitted VAE takes it."""
        check_is_fitted(self)
        _check_complete(X)
        return self.columns_.split(validate_data(self, X, dtype=np.float64, reset=False))

    def _codes(self, data: Split) -> Tensor:
        return rowwise.codes(self.vae_, data, 100, self._seed)

    def _check_settings(self) -> None:
        for name in ("n_components", "epochs", "batch_size"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        check_scalar(
            self.learning_rate, "learning_rate", Real, min_val=0, max_val=math.inf, include_boundaries="neither"
        )
        if self.learning_rate != self.learning_rate:  # NaN passes every comparison
            raise ValueError("learning_rate expects a number above 0, got nan; give 1e-3, say")
        if isinstance(self.random_state, Integral) and not 0 <= self.random_state < 2**32:
            raise ValueError(
                f"random_state expects a seed from 0 to 2^32 - 1, got {self.random_state}; give one, or None"
            )
        check_scalar(
            self.validation_fraction, "validation_fraction", Real, min_val=0, max_val=1, include_boundaries="left"
        )
        check_widths(self.hidden_dims)
        if self.patience is not None:
            check_scalar(self.patience, "patience", Integral, min_val=1)
            if not self.validation_fraction:
                raise ValueError(
                    "patience expects rows that are held out to be watched, got validation_fraction=0; "
                    "give validation_fraction=0.1"
                )
        if chosen_device(self.device).type == "mps":
            raise ValueError(
                f"{type(self).__name__} expects a device with float64, got {self.device!r}, here mps; give device='cpu'"
            )

    def _divided(self, data: Split, random: np.random.RandomState) -> tuple[Split, Split | None]:
        if not self.validation_fraction:
            return data, None
        rows = train_test_split(np.arange(len(data)), test_size=float(self.validation_fraction), random_state=random)
        train, held_out = (data[torch.from_numpy(some)] for some in rows)
        return train, held_out

    def _built(self, train: Split, domain: Domain, seed: int) -> VAE:
        return build(
            _Described(train, tuple(train.x.shape[1:]), domain),
            latent_dim=int(self.n_components),
            prior=self.prior,
            likelihood=self.likelihood,
            posterior=self.posterior,
            encoder=self._network(self.hidden_dims),
            decoder=self._network(self.hidden_dims[::-1]),
            corruption=self.corruption,
            start=None,
            seed=seed,
        ).double()

    def _network(self, hidden_dims: Sequence[int]) -> Factory:
        settings = {"hidden_dims": tuple(map(int, hidden_dims)), "activation": self.activation}
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        return network(self.net, settings, defaults)


def _check_complete(X: Any) -> None:
    """Refuse a masked array, whose mask scikit-learn drops."""
    if missing_in(X) is not None:
        raise ValueError(
            "an estimator expects a complete X, got a masked array with missing values; fill them (X.filled(), "
            "sklearn.impute), or train with ppl_vae.fit, which takes them as missing"
        )


@contextmanager
def _without_shapes() -> Iterator[None]:
    """Errors as raised, without the table of site shapes that Pyro appends."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "Trace Shapes:" in str(error) and error.__cause__ is not None:
            raise error.__cause__ from None
        raise


@dataclass(frozen=True)
class _Described:
    """What `build` must know of the data."""

    train: Split
    x_shape: tuple[int, ...]
    domain: Domain
    context_shapes: tuple[tuple[int, ...], ...] = ()
