"""Outliers of a table by log p(x), as an estimator."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pyro.infer import ELBO, Trace_ELBO
from sklearn.base import OutlierMixin
from sklearn.utils import check_scalar

from ppl_vae import traces
from ppl_vae.calls import method
from ppl_vae.factories import Factory
from ppl_vae.importance import good_k
from ppl_vae.nets import MLP
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import StandardNormal
from ppl_vae.sklearn.estimator import ColumnwiseEstimator, check_weights
from ppl_vae.sklearn.evidence import Evidence, evidence
from ppl_vae.split import Split
from ppl_vae.vae import VAE

__all__ = ["OutlierDetector"]

_REFITS = 3  # trainings without the least likely rows, at most


class OutlierDetector(OutlierMixin, ColumnwiseEstimator):
    """Rows with a low log p(x) under a VAE of X, where that estimate can be believed.

    A row is an outlier, -1, if its log p(x) is below `offset_` and its k-hat is at most `good_k_`. log p(x) is
    estimated by draws half from q, half around the mode of p(z | x), weighted by the density of their mixture. With a
    high k-hat it may be far too low, and is no evidence of an outlier: a row with an estimate below `offset_` and a
    high k-hat is not judged. Its score is `offset_`, its decision 0, and it is predicted as an inlier, 1; `predict`
    warns how many such rows there are, `assess` gives the estimates. Far away k-hat does not decide: a row below
    `offset_` by more than 1,000 + d^2 / 2 nats, d from its largest log weight to the upper quartile, is an outlier.

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the code; it may exceed that of X.
    contamination : float, default=0.1
        Share of the rows of `fit` whose log p(x) lies below `offset_`, above 0 and at most 0.5.
    trim : float, default=0.25
        Share of the rows of `fit` that the VAE is not trained on, at most 0.5, as it would learn outliers as well; it
        is trained up to four times, see Notes. Give 0.0 if all rows of `fit` are normal (novelty detection).
    prior : class or functools.partial, default=StandardNormal
        p(z), of `ppl_vae.priors`: `GaussianMixture`, `VampPrior`, `FlowPrior`.
    posterior : class or functools.partial, default=DiagonalNormal
        q(z | x), of `ppl_vae.posteriors`; it owns the encoder: `FullRankNormal`, `IAF`; with a density.
    likelihood : class or functools.partial, default=None
        p(x | z), of `ppl_vae.likelihoods`, which says what X may be, see `VariationalAutoencoder`; if `None`,
        `Gaussian` with a learned scale for each column, for real X.
    net : class or functools.partial, default=MLP
        Network of encoder and decoder, of `ppl_vae.nets`, for flat x.
    hidden_dims : sequence of int, default=()
        Widths of the encoder's hidden layers, and in reverse order of the decoder's; a linear map, factor analysis, if
        empty. Give (64,), say, for thousands of rows.
    activation : str, default="relu"
        Function after each hidden layer: ``"relu"``, ``"elu"``, ``"gelu"``, ``"silu"``, ``"softplus"`` or ``"tanh"``.
    objective : Pyro ELBO or class of one, default=Trace_ELBO
        Training objective, of `ppl_vae.objectives` or `pyro.infer`.
    epochs : int, default=100
        Passes over X.
    batch_size : int, default=128
        Rows per step.
    learning_rate : float, default=1e-2
        Step size of Adam.
    patience : int, default=None
        Number of epochs without a better ELBO on the rows held out after which training stops.
    validation_fraction : float, default=0.0
        Fraction of X held out from training; if above 0, the weights of the best epoch on it are kept.
    num_samples : int, default=1000
        Draws for each row, 25 or more, half of them around the mode; k-hat is steady from 1,000 on.
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
        Which rows of `fit` have a log p(x) below `offset_`, not far below, and a k-hat above `good_k_`.
    good_k_ : float
        The largest k-hat at which an estimate from `num_samples` draws is believed.
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
    first (`Imputer`). In a frame columns of text, categories and dates (days) are taken: categories get `Categorical`,
    `Bernoulli` where they are two, `OrderedLogistic` where pandas orders them, and `likelihood` is that of the numbers,
    booleans and dates. log p(x) adds densities of these to masses of those.

    A row unlike all others is often one that the encoder was never trained for, so that q is far from p(z | x), and
    k-hat of q's draws alone is good by chance for some. The draws around the mode do not need q: they are from a
    Student t with the curvature there (Geweke 1989), which sees one mode; latents that are not all real are q's.

    With `trim` it is first trained on all rows; then those with the lowest log p(x) are left out, and it is trained
    anew, from the same start, until the rows left out no longer change, three times at most: the concentration steps of
    fast MCD (Rousseeuw & Van Driessen 1999), which usually keeps three quarters (Hubert et al. 2018). `vae_`,
    `columns_` and `history_` are those of the last training. `offset_` is a quantile over all rows of `fit` in any
    case.

    log p(x) uses the same random numbers for every row by `torch.vmap`: custom components must not branch on values.

    References
    ----------
    Vehtari et al. 2024, arXiv:1507.02646 (k-hat); Rousseeuw & Van Driessen 1999, doi:10.1080/00401706.1999.10485670 and
    Hubert, Debruyne & Rousseeuw 2018, arXiv:1709.07045 (`trim`); Geweke 1989, doi:10.2307/1913710 (draws around the
    mode); Veach & Guibas 1995, doi:10.1145/218380.218498 (their mixture with q's); Nalisnick et al. 2019,
    arXiv:1810.09136 (a density may be high on rows that look like none of `fit`).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> detector = OutlierDetector(random_state=0).fit(X)
    >>> int(detector.labels_.sum() + detector.not_judged_.sum())  # 10 % of the 150
    15
    """

    gaps = False
    contamination: float
    trim: float

    def __init__(
        self,
        n_components: int = 2,
        *,
        contamination: float = 0.1,
        trim: float = 0.25,
        prior: Factory = StandardNormal,
        posterior: Factory = DiagonalNormal,
        likelihood: Factory | None = None,
        net: Factory = MLP,
        hidden_dims: Sequence[int] = (),
        activation: str = "relu",
        objective: ELBO | type[ELBO] = Trace_ELBO,
        epochs: int = 100,
        batch_size: int = 128,
        learning_rate: float = 1e-2,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        num_samples: int = 1000,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination
        self.trim = trim
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
    def assess(self, X: ArrayLike) -> pd.DataFrame:
        """Everything that is known of each row, computed once.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        DataFrame
            One row for each of X, with the index of a frame X: `log_px`, a stochastic lower bound of log p(x) in nats,
            in the units of X, whatever its k-hat; `pareto_k`, whether it can be believed; `judged`, false where it is
            below `offset_`, not far below, with a k-hat above `good_k_`; `score`, `offset_` for rows
            that are not judged and else `log_px`; and `outlier`, true where that is below `offset_`.
        """
        found = self._assessed(*self._evidence(self._data(X)))
        return found.set_axis(X.index) if isinstance(X, pd.DataFrame) else found

    @method
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """log p(x) of each row; `offset_` where it is not judged: see `assess`.

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
        scores: np.ndarray = self._assessed(*self._evidence(self._data(X))).score.to_numpy()
        return scores

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
        found = self._assessed(*self._evidence(self._data(X)))
        if not found.judged.all():
            warnings.warn(
                f"{int((~found.judged).sum())} of {len(found)} rows have a log p(x) below the threshold and a k-hat "
                f"above {self.good_k_:.2f}: log p(x) may be higher, and they are predicted as inliers; give more "
                "num_samples, a posterior such as IAF, or train longer",
                stacklevel=3,
            )
        return np.where(found.outlier, -1, 1)

    @method
    def log_px(self, X: ArrayLike) -> np.ndarray:
        """log p(x) of each row by importance sampling, a stochastic lower bound, whatever its k-hat: see `assess`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        log_px : ndarray of shape (n_samples,)
            In nats, in the units of X.
        """
        return self._evidence(self._data(X)).log_px

    @method
    def pareto_k(self, X: ArrayLike) -> np.ndarray:
        """k-hat of log p(x) of each row, whether the estimate can be believed: see `assess`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        k : ndarray of shape (n_samples,)
            The shape of the tail of the row's weights.
        """
        return self._evidence(self._data(X)).k

    def _evidence(self, data: Split) -> Evidence:
        return evidence(self.vae_, data, int(self.num_samples), self._seed)

    def _assessed(self, log_px: np.ndarray, k: np.ndarray, most: np.ndarray) -> pd.DataFrame:
        """What `assess` returns."""
        judged = (log_px >= self.offset_) | (k <= self.good_k_) | (most < self.offset_)
        score = np.where(judged, log_px, self.offset_)
        found = {"log_px": log_px, "pareto_k": k, "judged": judged, "score": score, "outlier": score < self.offset_}
        return pd.DataFrame(found)

    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        check_scalar(self.contamination, "contamination", Real, min_val=0, max_val=0.5, include_boundaries="right")
        check_scalar(self.trim, "trim", Real, min_val=0, max_val=0.5)
        check_weights("OutlierDetector", vae, q, self.num_samples)
        return {}

    def _after_fit(self, table: np.ndarray, train: Callable[[np.ndarray], None]) -> None:
        self.good_k_ = good_k(int(self.num_samples))
        found = self._evidence(self.columns_.split(table))
        kept = np.ones(len(table), bool)
        for _ in range(_REFITS if self.trim else 0):
            before, kept = kept, found.log_px >= np.quantile(found.log_px, self.trim, method="higher")
            if np.array_equal(kept, before):
                break
            train(table[kept])
            found = self._evidence(self.columns_.split(table))
        self.offset_ = float(np.quantile(found.log_px, self.contamination, method="higher"))
        rows = self._assessed(*found)
        self.not_judged_, self.labels_ = ~rows.judged.to_numpy(), rows.outlier.to_numpy().astype(int)
        self.decision_scores_, self.threshold_ = -rows.score.to_numpy(), -self.offset_
