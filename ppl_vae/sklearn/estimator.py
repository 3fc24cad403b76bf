"""The base of the estimators: builds a VAE for the columns of X, and trains it."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

import abc
import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from pyro.infer import ELBO
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.optim import Adam

from ppl_vae import traces, training
from ppl_vae.calls import method
from ppl_vae.data.columns import Columns as Records
from ppl_vae.factories import Factory
from ppl_vae.importance import FEWEST
from ppl_vae.likelihoods import Gaussian
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.coded import as_numbers, records_of
from ppl_vae.sklearn.columns import Columns
from ppl_vae.sklearn.networks import check_widths, network
from ppl_vae.split import Split
from ppl_vae.tensors import missing_in
from ppl_vae.training.device import chosen_device
from ppl_vae.vae import VAE, build
from ppl_vae.vae.data_spec import DataSpec

__all__ = ["ColumnwiseEstimator", "Factory", "TableEstimator", "check_complete", "check_density", "check_weights"]


class TableEstimator(BaseEstimator, abc.ABC):
    """A VAE of the columns of X, in float64; the base of the estimators."""

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

    gaps: ClassVar[bool] = True
    """Whether missing values in X are accepted."""

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
            Data; at least two rows, and at least `n_components`. A frame may have columns of text, categories and
            dates. NaN is a missing value, for estimators that accept these.
        y : Ignored
            Present for the API.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For settings out of range, for X that is no finite table with enough rows or lies outside the likelihood's
            support, for columns without a known value, and for parts that do not fit together.
        TypeError
            For a sparse X, and for settings of another type.
        """
        self._check_settings()
        records = records_of(X)
        table = self._checked(as_numbers(X, records), ensure_min_samples=max(2, self.n_components))
        random = check_random_state(self.random_state)
        *seeds, self._seed = random.randint(2**31 - 1, size=3).tolist()

        def train(rows: np.ndarray) -> None:
            self._train(rows, records, seeds, random)

        train(table)
        self._after_fit(table, train)
        return self

    def _train(self, table: np.ndarray, records: Records, seeds: Sequence[int], random: np.random.RandomState) -> None:
        """Train a VAE on some rows and set its attributes; `seeds` are those of the weights and of the training."""
        columns = self._columns(table, records)
        train, held_out = self._divided(columns.split(table), random)
        vae = self._built(train, columns, seeds[0])
        with traces.without_shapes(ValueError, RuntimeError):
            result = training.fit(
                vae,
                train,
                validation=held_out,
                epochs=self.epochs,
                batch_size=self.batch_size,
                objective=self.objective,
                optimizer=partial(Adam, lr=self.learning_rate, fused=True),
                patience=self.patience,
                seed=seeds[1],
                device=self.device,
                progress=False,
                **self._fit_settings(vae, rowwise.posterior_sites(vae, train[:1])),
            )
        self.vae_, self.columns_ = vae.eval(), columns
        self.history_, self.n_iter_ = result.history, len(result.history)

    def _after_fit(self, table: np.ndarray, train: Callable[[np.ndarray], None]) -> None:
        """Further steps of `fit`, none by default; `train` trains anew, on some of the rows of X."""

    def _checked(self, X: ArrayLike, **settings: Any) -> np.ndarray:
        """X as a table of numbers in float64, NaN where one is missing, by scikit-learn's checks."""
        if not self.gaps:
            check_complete(X)
        elif missing_in(X) is not None:
            X = np.ma.filled(np.ma.asarray(X, dtype=float), np.nan)
        table: np.ndarray = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", **settings)
        if not self.gaps and (gaps := np.isnan(table).any(1)).any():  # scikit-learn names estimators of its own
            raise ValueError(
                f"Input X contains NaN: {type(self).__name__} expects complete rows, got gaps in {int(gaps.sum())} of "
                f"{len(gaps)}, first in row {int(gaps.argmax())}; fill them by ppl_vae.sklearn.Imputer, leave such "
                "rows out, or score them by ppl_vae.evaluate and a VAE of your own, which takes NaN as missing"
            )
        if settings.get("reset", True) and (empty := np.flatnonzero(np.isnan(table).all(0)).tolist()):
            names = getattr(self, "feature_names_in_", np.arange(table.shape[1]))[empty].tolist()
            raise ValueError(
                f"{type(self).__name__} expects a known value in each column, got none in "
                f"{', '.join(map(str, names))}; leave them out"
            )
        return table

    def _columns(self, table: np.ndarray, records: Records) -> Columns:
        """The map from X to data of the likelihood."""
        return Columns.of(table, self.likelihood, records=records)

    def _table(self, X: ArrayLike) -> np.ndarray:
        """X as numbers, with the columns of fit."""
        check_is_fitted(self)
        return self._checked(as_numbers(X, self.columns_.records), reset=False)

    def _data(self, X: ArrayLike) -> Split:
        """X as the fitted VAE takes it."""
        table = self._table(X)
        return self.columns_.split(table)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.gaps
        return tags

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

    def _built(self, train: Split, columns: Columns, seed: int) -> VAE:
        return build(
            DataSpec(tuple(train.x.shape[1:]), columns.domain, train=train),
            latent_dim=int(self.n_components),
            prior=self.prior,
            likelihood=columns.likelihood_of(self._likelihood),
            posterior=self.posterior,
            encoder=self._network(self.hidden_dims),
            decoder=self._network(self.hidden_dims[::-1]),
            corruption=self.corruption,
            start=None,
            seed=seed,
        ).double()

    @property
    def _likelihood(self) -> Factory:
        """The likelihood that is passed to `build`."""
        return self.likelihood

    def _network(self, hidden_dims: Sequence[int]) -> Factory:
        settings = {"hidden_dims": tuple(map(int, hidden_dims)), "activation": self.activation}
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        return network(self.net, settings, defaults)


class ColumnwiseEstimator(TableEstimator):
    """An estimator that scales each real column by itself; its default Gaussian learns a scale for each column."""

    likelihood: Any
    corruption = None
    num_samples: int

    def _columns(self, table: np.ndarray, records: Records) -> Columns:
        return Columns.of(table, self._likelihood, each=True, records=records)

    @property
    def _likelihood(self) -> Factory:
        return partial(Gaussian, scale="elementwise") if self.likelihood is None else self.likelihood


def check_complete(X: Any) -> None:
    """Refuse a masked array, whose mask scikit-learn drops."""
    if missing_in(X) is not None:
        raise ValueError(
            "an estimator expects a complete X, got a masked array with missing values; fill them (X.filled(), "
            "ppl_vae.sklearn.Imputer), or train with ppl_vae.fit, which takes them as missing"
        )


def check_density(name: str, vae: VAE, q: Sequence[traces.Site]) -> None:
    """Refuse a posterior without a density.

    Raises
    ------
    ValueError
        For a point mass.
    """
    if any(map(traces.singular, q)):
        raise ValueError(
            f"{name} expects a posterior with a density, got {type(vae.posterior).__name__}, a point: log p(x) could "
            "not be estimated; use Autoencoder"
        )


def check_weights(name: str, vae: VAE, q: Sequence[traces.Site], num_samples: Any) -> None:
    """Refuse what gives no k-hat: too few draws, and a posterior without a density, or of codes.

    Raises
    ------
    ValueError
        For fewer than 25 draws, a point mass, and a discrete posterior.
    """
    check_scalar(num_samples, "num_samples", Integral, min_val=FEWEST)
    check_density(name, vae, q)
    if any(map(traces.discrete, q)):
        raise ValueError(
            f"{name} expects a posterior with a density, got {type(vae.posterior).__name__}, of codes, whose weights "
            "have no k-hat; use DiagonalNormal"
        )
