"""Missing values of a table, as an estimator."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pyro.infer import ELBO, Trace_ELBO
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state, check_scalar

from ppl_vae import traces
from ppl_vae.calls import method
from ppl_vae.evaluation import Imputation, impute
from ppl_vae.factories import Factory
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import StandardNormal
from ppl_vae.sklearn.estimator import ColumnwiseEstimator, check_weights
from ppl_vae.vae import VAE

__all__ = ["Imputer"]


class Imputer(OneToOneFeatureMixin, TransformerMixin, ColumnwiseEstimator):
    """Missing values of X from p(x_missing | x_observed) of a VAE that is trained on what was observed.

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the code; it may exceed that of X.
    sample_posterior : bool, default=False
        Whether missing values are drawn, anew at each call of `transform`, instead of set to their means. Several calls
        are multiple imputations: analyse each as if it were complete, and pool the results.
    prior : class or functools.partial, default=StandardNormal
        p(z), of `ppl_vae.priors`: `GaussianMixture`, `VampPrior`, `FlowPrior`.
    posterior : class or functools.partial, default=DiagonalNormal
        q(z | x), of `ppl_vae.posteriors`; it owns the encoder: `FullRankNormal`, `IAF`; with a density.
    likelihood : class or functools.partial, default=None
        p(x | z), of `ppl_vae.likelihoods`, which says what X may be, see `VariationalAutoencoder`; if `None`,
        `Gaussian` with a learned scale for each column, for real X.
    net : class or functools.partial, default=MLP
        Network of encoder and decoder, of `ppl_vae.nets`, for flat x.
    hidden_dims : sequence of int, default=(256,)
        Widths of the encoder's hidden layers, and in reverse order of the decoder's; a linear map if empty.
    activation : str, default="relu"
        Function after each hidden layer: ``"relu"``, ``"elu"``, ``"gelu"``, ``"silu"``, ``"softplus"`` or ``"tanh"``.
    objective : Pyro ELBO or class of one, default=Trace_ELBO
        Training objective, of `ppl_vae.objectives` or `pyro.infer`; `IWAE` is MIWAE.
    epochs : int, default=300
        Passes over X.
    batch_size : int, default=128
        Rows per step.
    learning_rate : float, default=1e-3
        Step size of Adam.
    patience : int, default=None
        Number of epochs without a better ELBO on the rows held out after which training stops.
    validation_fraction : float, default=0.0
        Fraction of X held out from training; if above 0, the weights of the best epoch on it are kept.
    num_samples : int, default=1000
        Draws from q for each row, 25 or more; k-hat is steady from 1,000 on.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the rows held out, the order of the rows and all draws. With an int a fit is reproduced
        bit for bit on a CPU.
    device : str, default="cpu"
        ``"cpu"``, ``"cuda"``, or ``"auto"``; one with float64.

    Attributes
    ----------
    vae_ : ppl_vae.VAE
        The trained model, in eval mode. It takes x = (X - mean) / span, in float64.
    columns_ : Columns
        Converts X to x: `columns_.split(X)` is what `ppl_vae.impute` and `ppl_vae.evaluate` take beside `vae_`.
    history_ : pandas.DataFrame
        ELBO, reconstruction and KL of each epoch in nats per row, in the units of x; see `ppl_vae.Fit`.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has string names.
    random_state_ : RandomState instance
        The generator of the draws of `sample_posterior`.

    See Also
    --------
    sklearn.impute.IterativeImputer : Regressions of each column on the others.
    ppl_vae.impute : Means, draws, intervals, and k-hat for each row: `ppl_vae.impute(imputer.vae_,
        imputer.columns_.split(X))`, in the units of x.

    Notes
    -----
    NaN is a missing value. Real X are centered column by column and divided by the standard deviations of their known
    values. Columns without a known value are refused. A row without a known value gets the mean of p(x), or draws from
    it. Observed values are returned as they are.

    A frame may also have columns of text, categories and dates (days): categories get `Categorical`, or `Bernoulli` if
    there are two, or `OrderedLogistic` if pandas orders them; `likelihood` is for numbers, booleans and dates.
    `transform` then returns a frame. Its columns without a gap are unchanged; means of whole numbers and of booleans
    are real numbers, so that columns of these with gaps become float64. Categories that `fit` has not seen are refused.

    `transform` warns of rows whose k-hat is too high for their imputed values to be trusted. Its means are estimates
    from `num_samples` draws of q, the same at each call for the same X. Other rows of X change the draws for a row, and
    so its means, within their standard error.

    References
    ----------
    Mattei & Frellsen 2019, arXiv:1812.02633.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> gaps = X.copy()
    >>> gaps[::10, 2] = np.nan
    >>> imputer = Imputer(n_components=1, hidden_dims=(32,), learning_rate=0.01, epochs=50, random_state=0)
    >>> errors = np.abs(imputer.fit_transform(gaps) - X)[::10, 2]
    >>> bool(errors.mean() < 0.3 * X[:, 2].std())
    True
    """

    sample_posterior: bool

    def __init__(
        self,
        n_components: int = 2,
        *,
        sample_posterior: bool = False,
        prior: Factory = StandardNormal,
        posterior: Factory = DiagonalNormal,
        likelihood: Factory | None = None,
        net: Factory = MLP,
        hidden_dims: Sequence[int] = (256,),
        activation: str = "relu",
        objective: ELBO | type[ELBO] = Trace_ELBO,
        epochs: int = 300,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        num_samples: int = 1000,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.sample_posterior = sample_posterior
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.net = net
        self.hidden_dims = hidden_dims
        self.activation = activation
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.num_samples = num_samples
        self.random_state = random_state
        self.device = device

    @method
    def transform(self, X: ArrayLike) -> np.ndarray | pd.DataFrame:
        """X with each missing value replaced by its mean, or with `sample_posterior` by a draw.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data, NaN where a value is missing.

        Returns
        -------
        X_imputed : ndarray of shape (n_samples, n_features), or DataFrame
            In the units of X, without NaN; a frame if X is one with text, categories or dates. Columns without gaps are
            unchanged.

        Warns
        -----
        UserWarning
            Of rows whose k-hat is above the largest at which their estimates are believed.
        """
        table = self._table(X)
        missing = np.isnan(table)
        if not missing.any():
            return self._as_given(table.copy(), X)
        seed = int(self.random_state_.randint(2**31 - 1)) if self.sample_posterior else self._seed
        split = self.columns_.split(table)
        found = impute(
            self.vae_,
            split,
            num_draws=1,
            num_samples=int(self.num_samples),
            seed=seed,
            max_bytes=2**62,
            progress=False,
        )
        _warn_of_k(found)
        imputed = self.columns_.raw(found.draws[0] if self.sample_posterior else found.mean)
        return self._as_given(np.where(missing, imputed, table), X)

    def _as_given(self, table: np.ndarray, X: ArrayLike) -> np.ndarray | pd.DataFrame:
        """An imputed table as `transform` returns it."""
        made = self.columns_.returned(table, getattr(X, "index", None))
        if not isinstance(made, pd.DataFrame) or not isinstance(X, pd.DataFrame):
            return made
        given = [(name, X.iloc[:, i]) for i, name in enumerate(made)]
        dates = pd.api.types.is_datetime64_any_dtype  # which a table of days rounds
        known = {name: v.where(v.notna(), made[name]) for name, v in given if not v.isna().any() or dates(v)}
        return made.assign(**known)

    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        check_scalar(self.sample_posterior, "sample_posterior", (bool, np.bool_))
        check_weights("Imputer", vae, q, self.num_samples)
        return {}

    def _after_fit(self, table: np.ndarray, train: Callable[[np.ndarray], None]) -> None:
        self.random_state_ = check_random_state(self._seed)


def _warn_of_k(found: Imputation) -> None:
    bad, rows = int((found.pareto_k > found.good_k).sum()), int(found.incomplete.sum())
    if bad:
        warnings.warn(
            f"k-hat is above {found.good_k:.2f} for {bad} of {rows} rows with missing values, whose imputed values may "
            "be off: q(z | x) is far from the posterior; train longer, or give more num_samples",
            stacklevel=5,
        )
