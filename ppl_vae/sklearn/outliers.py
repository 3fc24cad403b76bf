"""Outliers of a table by log p(x), as an estimator."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyro.infer import ELBO, Trace_ELBO
from sklearn.base import OutlierMixin
from sklearn.utils import check_scalar

from ppl_vae import traces
from ppl_vae.calls import method
from ppl_vae.importance import good_k, log_marginal, psis
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import StandardNormal
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.estimator import ColumnwiseEstimator, Factory, check_weights
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["OutlierDetector"]

_LARGE = 1e300


class OutlierDetector(OutlierMixin, ColumnwiseEstimator):
    """Rows with a low log p(x) under a VAE of X, where that estimate can be believed.

    A row is an outlier, -1, if its log p(x) is below `offset_` and its k-hat is at most `good_k_`. log p(x) is
    estimated from below: with a high k-hat it may lie far above the estimate. So a row with an estimate below `offset_`
    and a high k-hat is not judged: its score is `offset_`, its decision 0, and it is predicted as an inlier, 1;
    `predict` warns how many such rows there are. `log_px` and `pareto_k` give the estimates as they are.

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the code; it may exceed that of X.
    contamination : float, default=0.1
        Share of the rows of `fit` whose log p(x) lies below `offset_`, above 0 and at most 0.5.
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
        Training objective, of `ppl_vae.objectives` or `pyro.infer`.
    epochs : int, default=100
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
    offset_ : float
        The `contamination` quantile of log p(x) over the rows of `fit`, in nats; one of their values.
    not_judged_ : ndarray of shape (n_samples,)
        Which rows of `fit` have a log p(x) below `offset_` and a k-hat above `good_k_`.
    good_k_ : float
        The largest k-hat at which an estimate from `num_samples` draws is reliable.
    decision_scores_ : ndarray of shape (n_samples,)
        ``-score_samples`` of the rows of `fit`, larger for outliers, as PyOD names and signs it.
    threshold_ : float
        ``-offset_``, as PyOD names it: the rows of `fit` with a decision score above it are outliers.
    labels_ : ndarray of shape (n_samples,)
        Of the rows of `fit`, 1 for outliers and 0 for inliers, as PyOD has them; `fit_predict` gives scikit-learn's -1
        and 1.
    vae_ : ppl_vae.VAE
        The trained model, in eval mode. It takes x = (X - mean) / span, in float64.
    columns_ : Columns
        Converts X to x: `columns_.split(X)` is what `ppl_vae.evaluate` and `ppl_vae.diagnose` take beside `vae_`.
    history_ : pandas.DataFrame
        ELBO, reconstruction and KL of each epoch in nats per row, in the units of x; see `ppl_vae.Fit`.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has string names.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers by the depth at which random trees separate them.
    VariationalAutoencoder : The density alone.

    Notes
    -----
    Methods follow scikit-learn: `decision_function`, `score_samples` and `predict` are smaller for outliers. PyOD's
    `decision_function` is larger for them: that is ``-detector.score_samples(X)``; the attributes that PyOD sets in
    `fit`, `decision_scores_`, `labels_` and `threshold_`, have its signs, so that code that reads these works.

    Real X are centered column by column and divided by their standard deviations; scores are in the units of X. Rows
    with missing values are refused: log p(x_observed) of rows that miss different columns cannot be ranked; impute them
    first (`Imputer`).

    A row unlike all others is often one that the encoder was never trained for, so that its k-hat is high and it is not
    judged. More `num_samples` or a richer `posterior` let more rows be judged, and `log_px` ranks all of them.

    A density is high where many rows were, and may be high on rows that look like none of them (Nalisnick et al.): low
    log p(x) is one notion of an outlier.

    log p(x) uses the same random numbers for every row by `torch.vmap`: custom components must not branch on values.

    References
    ----------
    Vehtari et al. 2024, arXiv:1507.02646 (k-hat); Nalisnick et al. 2019, arXiv:1810.09136.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> detector = OutlierDetector(hidden_dims=(32,), learning_rate=0.01, random_state=0).fit(X)
    >>> int(detector.labels_.sum() + detector.not_judged_.sum())  # 10 % of the 150
    15
    """

    contamination: float

    def __init__(
        self,
        n_components: int = 2,
        *,
        contamination: float = 0.1,
        prior: Factory = StandardNormal,
        posterior: Factory = DiagonalNormal,
        likelihood: Factory | None = None,
        net: Factory = MLP,
        hidden_dims: Sequence[int] = (256,),
        activation: str = "relu",
        objective: ELBO | type[ELBO] = Trace_ELBO,
        epochs: int = 100,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        num_samples: int = 1000,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination
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
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """log p(x) of each row; `offset_` where the estimate is below it and k-hat above `good_k_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats, in the units of X. The draws are the same for every row and every call: a value does not depend
            on what other rows there are.
        """
        return self._judged(*self._estimates(self._data(X)))[0]

    @method
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """`score_samples` less `offset_`: below 0 for outliers, 0 for rows that are not judged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats.
        """
        return self.score_samples(X) - self.offset_

    @method
    def predict(self, X: ArrayLike) -> np.ndarray:
        """-1 for outliers, 1 for inliers, and for rows that are not judged.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 or 1.

        Warns
        -----
        UserWarning
            Of rows that are not judged, with their number.
        """
        scores, doubtful = self._judged(*self._estimates(self._data(X)))
        if doubtful.any():
            warnings.warn(
                f"{int(doubtful.sum())} of {len(scores)} rows have a log p(x) below the threshold and a k-hat above "
                f"{self.good_k_:.2f}: log p(x) may be higher, and they are predicted as inliers; give more "
                "num_samples, a posterior such as IAF, or train longer",
                stacklevel=3,
            )
        return np.where(scores < self.offset_, -1, 1)

    @method
    def log_px(self, X: ArrayLike) -> np.ndarray:
        """log p(x) of each row by importance sampling with q, a stochastic lower bound, whatever its k-hat.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        log_px : ndarray of shape (n_samples,)
            In nats, in the units of X.
        """
        return self._estimates(self._data(X))[0]

    @method
    def pareto_k(self, X: ArrayLike) -> np.ndarray:
        """k-hat of log p(x) of each row: whether the estimate can be believed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        k : ndarray of shape (n_samples,)
            The shape of the tail of the row's weights.
        """
        return self._estimates(self._data(X))[1]

    def _estimates(self, data: Split) -> tuple[np.ndarray, np.ndarray]:
        """log p(x) in nats, in the units of X, and k-hat, (n_samples,)."""
        log_w = rowwise.log_weights(self.vae_, data, int(self.num_samples), self._seed).cpu()
        log_w = log_w.nan_to_num(-_LARGE, -_LARGE, -_LARGE)  # of rows so far away that squares overflow
        return (log_marginal(log_w).estimate - data.log_volume).numpy(), psis(log_w)[1].numpy()

    def _judged(self, log_px: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores, and which rows are not judged, (n_samples,)."""
        doubtful = (log_px < self.offset_) & (k > self.good_k_)
        return np.where(doubtful, self.offset_, log_px), doubtful

    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        check_scalar(self.contamination, "contamination", Real, min_val=0, max_val=0.5, include_boundaries="right")
        check_weights("OutlierDetector", vae, q, self.num_samples)
        return {}

    def _after_fit(self, data: Split) -> None:
        log_px, k = self._estimates(data)
        self.good_k_ = good_k(int(self.num_samples))
        self.offset_ = float(np.quantile(log_px, self.contamination, method="higher"))
        scores, self.not_judged_ = self._judged(log_px, k)
        self.decision_scores_, self.threshold_ = -scores, -self.offset_
        self.labels_ = (scores < self.offset_).astype(int)
