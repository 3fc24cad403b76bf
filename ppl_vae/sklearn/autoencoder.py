"""The autoencoder as an estimator."""

# ruff: noqa: N803, X is scikit-learn's name
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pyro.infer import ELBO, Trace_ELBO

from ppl_vae import traces
from ppl_vae.calls import method
from ppl_vae.casting import arguments
from ppl_vae.factories import Factory
from ppl_vae.isolation import eval_mode
from ppl_vae.likelihoods import Gaussian
from ppl_vae.nets import MLP
from ppl_vae.posteriors import Point
from ppl_vae.priors import Flat
from ppl_vae.sklearn.latent_transformer import LatentTransformer
from ppl_vae.support import filled
from ppl_vae.vae import VAE

__all__ = ["Autoencoder"]


class Autoencoder(LatentTransformer):
    """Non-linear dimension reduction: X to codes z = e(x) and back, E[x | z].

    It has no density of X and cannot be sampled: there is neither `sample` nor `score_samples`.

    Parameters
    ----------
    n_components : int, default=2
        Dimension of the code; it may exceed that of X.
    prior : class or functools.partial, default=Flat
        p(z), of `ppl_vae.priors`: `Laplace` makes codes sparse, `StandardNormal` small.
    posterior : class or functools.partial, default=Point
        q(z | x), of `ppl_vae.posteriors`; it owns the encoder: `Point`, `partial(TopK, k=...)` for a
        k-sparse one, or `VectorQuantized` (with `prior=CodePrior` and `objective=Commitment()`).
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
        `partial(GaussianNoise, scale=0.3)`: a denoising autoencoder.
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
    VariationalAutoencoder : With a prior to generate from, and a density of X.
    sklearn.decomposition.PCA : Its linear special case, in closed form.

    Notes
    -----
    Real X are centered column by column and divided by one span, which keeps distances, as PCA does; for columns in
    different units put a `StandardScaler` before it in a `Pipeline`. Scores are in the units
    of X in either case. Codes are identified only up to a smooth invertible map.

    NaN is a missing value: training, codes and scores use the observed values alone. A frame may also have columns of
    text, categories and dates (days): categories get `Categorical`, or `Bernoulli` if there are two, or
    `OrderedLogistic` if pandas orders them; `likelihood` is for numbers, booleans and dates. `inverse_transform` then
    returns frames with the categories of `fit`; other categories are refused.

    References
    ----------
    Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647; Vincent et al. 2010, jmlr.org/papers/v11/vincent10a.html.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> def accuracy(reducer):
    ...     classifier = make_pipeline(reducer, KNeighborsClassifier(10)).fit(X[:1000], y[:1000])
    ...     return classifier.score(X[1000:], y[1000:])
    >>> autoencoder = Autoencoder(n_components=2, epochs=20, random_state=0)
    >>> bool(accuracy(autoencoder) > accuracy(PCA(n_components=2)))
    True
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        prior: Factory = Flat,
        posterior: Factory = Point,
        likelihood: Factory = Gaussian,
        net: Factory = MLP,
        hidden_dims: Sequence[int] = (256,),
        activation: str = "relu",
        corruption: Factory | None = None,
        objective: ELBO | type[ELBO] = Trace_ELBO,
        epochs: int = 100,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        validation_fraction: float = 0.0,
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
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device

    @method
    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log p(x | z) at the codes of X: higher is better.

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
        data = self._data(X)
        (x,), mask = arguments(self.vae_, data)
        with eval_mode(self.vae_), torch.no_grad():
            fn = self.vae_.scored(x, mask, self._codes(data).to(x))
            log_p = fn.log_prob(filled(x, mask, fn))
        return float((log_p.cpu() - data.log_volume).mean())

    def _fit_settings(self, vae: VAE, q: Sequence[traces.Site]) -> dict[str, Any]:
        if not all(traces.singular(site) or traces.discrete(site) for site in q):
            raise ValueError(
                f"Autoencoder expects a posterior of one code, got {type(vae.posterior).__name__}, a density; "
                "use VariationalAutoencoder, or Point"
            )
        return {}
