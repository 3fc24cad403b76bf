"""The variational autoencoder as an estimator."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pyro.infer import ELBO, Trace_ELBO
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from ppl_vae import traces
from ppl_vae.calls import method
from ppl_vae.factories import Factory
from ppl_vae.likelihoods import Gaussian
from ppl_vae.nets import MLP
from ppl_vae.objectives import BetaSchedule
from ppl_vae.posteriors import DiagonalNormal
from ppl_vae.priors import StandardNormal
from ppl_vae.sklearn import rowwise
from ppl_vae.sklearn.estimator import check_density
from ppl_vae.sklearn.latent_transformer import LatentTransformer
from ppl_vae.vae import VAE

__all__ = ["VariationalAutoencoder"]


class VariationalAutoencoder(LatentTransformer):
    """A density of X, p(x) = E p(x | z) over z ~ p(z), and codes, the means of q(z | x).

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the code; it may exceed that of X.
    prior : class or functools.partial, default=StandardNormal
        p(z), of `ppl_vae.priors`: `GaussianMixture`, `VampPrior`, `FlowPrior`.
    posterior : class or functools.partial, default=DiagonalNormal
        q(z | x), of `ppl_vae.posteriors`; it owns the encoder: `FullRankNormal`, `IAF`; not a `Point`.
    likelihood : class or functools.partial, default=Gaussian
        p(x | z), of `ppl_vae.likelihoods`; it owns the decoder and says what X may be: real for `Gaussian`, in {0, 1}
        for `Bernoulli`, in [0, 1] for `ContinuousBernoulli`, whole numbers for `DiscretizedLogistic` and `Categorical`
        (up to the largest in X, or as `partial(Categorical, levels=...)` says); see Notes for categories.
    net : class or functools.partial, default=MLP
        Network of encoder and decoder, of `ppl_vae.nets`, for flat x.
    hidden_dims : sequence of int, default=(256,)
        Widths of the encoder's hidden layers, and in reverse order of the decoder's; a linear map if empty. Like
        `activation`, it is refused if it is not the default and the network has no such parameter, or has it bound.
    activation : str, default="relu"
        Function after each hidden layer: ``"relu"``, ``"elu"``, ``"gelu"``, ``"silu"``, ``"softplus"`` or ``"tanh"``.
    corruption : class or functools.partial, default=None
        Noise added to the encoder's input in training, of `ppl_vae.corruptions`, such as
        `partial(GaussianNoise, scale=0.3)`: a denoising VAE.
    objective : Pyro ELBO or class of one, default=Trace_ELBO
        Training objective, of `ppl_vae.objectives` or `pyro.infer`.
    beta : float or ppl_vae.objectives.BetaSchedule, default=1.0
        Weight of the KL while training, or its warm-up; other than 1 it is a beta-VAE.
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
    num_samples : int, default=100
        Draws per row for log p(x), a lower bound that tightens with their number.
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
        Converts X to x: `columns_.split(X)` is what `ppl_vae.evaluate` and `ppl_vae.diagnose` take beside `vae_`,
        `columns_.mean` of shape (n_features,) and `columns_.domain.span` are what real X are centered and divided by.
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
    Autoencoder : Codes alone, without a density.
    sklearn.mixture.GaussianMixture : A density by components instead of codes.
    ppl_vae.evaluate : log p(x) with its error and reliability, for `vae_` and `columns_.split(X)`.

    Notes
    -----
    Real X are centered column by column and divided by one span, which keeps distances, as PCA does; for columns in
    different units put a `StandardScaler` before it in a `Pipeline`. Scores are in the units
    of X in either case.

    NaN is a missing value: the VAE is trained on the observed values, codes are means of q given these, and scores are
    log p(x_observed). A frame may also have columns of text, categories and dates (days): categories get `Categorical`,
    or `Bernoulli` if there are two, or `OrderedLogistic` if pandas orders them; `likelihood` is for numbers, booleans
    and dates. `inverse_transform` and `sample` then return frames with the categories of `fit`; other categories are
    refused.

    log p(x) uses the same random numbers for every row by `torch.vmap`: custom components must not branch on values.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114; Burda et al. 2016, arXiv:1509.00519 (log p(x)).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> vae = VariationalAutoencoder(n_components=1, hidden_dims=(32,), learning_rate=0.01, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(3).shape
    ((150, 1), (3, 4))
    >>> bool(vae.score(X) > vae.score(X[:, ::-1]))
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        prior: Factory = StandardNormal,
        posterior: Factory = DiagonalNormal,
        likelihood: Factory = Gaussian,
        net: Factory = MLP,
        hidden_dims: Sequence[int] = (256,),
        activation: str = "relu",
        corruption: Factory | None = None,
        objective: ELBO | type[ELBO] = Trace_ELBO,
        beta: float | BetaSchedule = 1.0,
        epochs: int = 100,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        num_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.net = net
        self.hidden_dims = hidden_dims
        self.activation = activation
        self.corruption = corruption
        self.objective = objective
        self.beta = beta
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
        """log p(x) of each row, by importance sampling with q: a stochastic lower bound.

        With a `VectorQuantized` posterior all draws are the same code, and the result is the ELBO for any number of
        draws: below log p(x) by -log p(z = code | x).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        log_px : ndarray of shape (n_samples,)
            In nats, in the units of X. The draws are the same for every row and every call: a value does not depend
            on what other rows there are.
        """
        data = self._data(X)
        return rowwise.log_px(self.vae_, data, int(self.num_samples), self._seed).numpy()

    @method
    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log p(x) over the rows of X: higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        y : Ignored
            Present for the API.

        Returns
        -------
        score : float
            In nats per row, in the units of X.
        """
        return float(self.score_samples(X).mean())

    @method
    def sample(self, n_samples: int = 1) -> np.ndarray | pd.DataFrame:
        """Draws of x ~ p(x).

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or DataFrame
            In the units of X; a frame if X in `fit` was one with text, categories or dates. The same at every call for
            an integer `random_state`.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        return self.columns_.returned(self.columns_.raw(self.vae_.sample(int(n_samples), seed=seed)))

    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        check_scalar(self.num_samples, "num_samples", Integral, min_val=1)
        check_scalar(self.beta, "beta", (Real, BetaSchedule))
        check_density("VariationalAutoencoder", vae, q)
        return {"beta": float(self.beta) if isinstance(self.beta, Real) else self.beta}
