"""Methods to embed data in the plane, linear and non-linear, with their capabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA, KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import TSNE, Isomap, LocallyLinearEmbedding

from ppl_vae.arguments import Count, checked
from ppl_vae.corruptions import GaussianNoise
from ppl_vae.sklearn import Autoencoder, VariationalAutoencoder
from ppl_vae.training.device import chosen_device

__all__ = ["NAMES", "Method", "methods"]

STEPS, STEPS_FEW_COLUMNS, FEW_COLUMNS = 2000, 6000, 10
NUM_NEIGHBORS = 10
BATCH_SIZE = 128


@checked
@dataclass(frozen=True)
class Method:
    """A method to embed data in the plane.

    Parameters
    ----------
    make
        Makes an estimator with scikit-learn's interface of training data x (n, D), scaled to a mean variance of 1,
        their labels (n,) or `None`, and a seed.
    settings
        Its hyperparameters, in words.
    out_of_sample
        Whether it embeds data it was not fitted on, by `transform`.
    inverse
        Whether it maps codes back to data, by `inverse_transform`.
    needs_labels
        Whether it is supervised.
    missing
        What to install before it can be made; empty if nothing.
    """

    make: Callable[[np.ndarray, np.ndarray | None, int], Any]
    settings: str
    out_of_sample: bool = True
    inverse: bool = False
    needs_labels: bool = False
    missing: str = ""


@checked
def methods(*, steps: Count | None = None, device: str = "cpu") -> dict[str, Method]:
    """Every method by name, with hyperparameters that are the same for all data but for the number of steps.

    Scikit-learn's PCA, LDA, kernel PCA, Isomap, LLE and t-SNE; UMAP; and four of this library: an autoencoder, a
    denoising one, a VAE and a beta-VAE, with the same networks and as many steps.

    Parameters
    ----------
    steps
        Gradient steps of the four, of 128 data each, rounded up to whole epochs; by default 2,000, and 6,000 for data
        of at most 10 columns: a rolled-up sheet goes on unrolling in the code long after it is reconstructed well.
    device
        Where the four are trained.

    Raises
    ------
    ValueError
        For fewer than one step, and a device that this machine does not have.

    Examples
    --------
    >>> [name for name, method in methods().items() if not method.out_of_sample]
    ['t-SNE']
    >>> methods()["PCA"].make(np.zeros((3, 2)), None, 0)
    PCA(n_components=2, random_state=0, svd_solver='full')
    """
    chosen_device(device)
    k = NUM_NEIGHBORS
    found = {
        "PCA": Method(_pca, "the two largest principal components, by a full SVD", inverse=True),
        "LDA": Method(_lda, "the two most discriminating directions, or one for two classes", needs_labels=True),
        "KernelPCA": Method(
            _kernel_pca, "Gaussian kernel, gamma = 1 / median squared distance; ridge alpha 1", inverse=True
        ),
        "Isomap": Method(lambda x, y, seed: Isomap(n_neighbors=k, n_components=2), f"{k} neighbours"),
        "LLE": Method(_lle, f"{k} neighbours, standard"),
        "t-SNE": Method(
            lambda x, y, seed: TSNE(random_state=seed), "perplexity 30, initialized by PCA", out_of_sample=False
        ),
        "UMAP": Method(
            _umap,
            "15 neighbours, min_dist 0.1",
            inverse=True,
            missing="" if find_spec("umap") else "pip install umap-learn",
        ),
    }
    words = steps or f"{STEPS} ({STEPS_FEW_COLUMNS} for at most {FEW_COLUMNS} columns)"
    nets = "dense {hidden_dims} and back, {activation}, Adam at {learning_rate}".format_map(NET)
    for name, estimator, settings, said in _OURS:
        make = partial(_ours, estimator, settings, steps, device)
        found[name] = Method(make, f"{said}; {nets}, {words} steps of {BATCH_SIZE}", inverse=True)
    return found


NAMES = (
    "PCA",
    "LDA",
    "KernelPCA",
    "Isomap",
    "LLE",
    "t-SNE",
    "UMAP",
    "Autoencoder",
    "DenoisingAutoencoder",
    "VAE",
    "BetaVAE",
)
"""The names of `methods`."""

NET: dict[str, Any] = {"hidden_dims": (256,) * 4, "activation": "elu", "learning_rate": 1e-3}

_OURS: tuple[tuple[str, Any, dict[str, Any], str], ...] = (
    ("Autoencoder", Autoencoder, {}, "flat prior, point code"),
    (
        "DenoisingAutoencoder",
        Autoencoder,
        {"corruption": partial(GaussianNoise, scale=0.5)},
        "noise of sd 0.5 on inputs of mean variance 1",
    ),
    ("VAE", VariationalAutoencoder, {}, "standard normal prior, diagonal normal q, learned scale"),
    ("BetaVAE", VariationalAutoencoder, {"beta": 4.0}, "the VAE with beta = 4"),
)


def _ours(
    estimator: Any,
    settings: dict[str, Any],
    steps: int | None,
    device: str,
    x: np.ndarray,
    y: np.ndarray | None,
    seed: int,
) -> Any:
    steps = steps or (STEPS_FEW_COLUMNS if x.shape[1] <= FEW_COLUMNS else STEPS)
    epochs = math.ceil(steps / math.ceil(len(x) / BATCH_SIZE))
    return estimator(**NET, **settings, epochs=epochs, batch_size=BATCH_SIZE, random_state=seed, device=device)


def _pca(x: np.ndarray, y: np.ndarray | None, seed: int) -> PCA:
    return PCA(2, svd_solver="full", random_state=seed)


def _lda(x: np.ndarray, y: Any, seed: int) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(n_components=min(2, len(np.unique(y)) - 1, x.shape[1]))


def _kernel_pca(x: np.ndarray, y: np.ndarray | None, seed: int) -> KernelPCA:
    median = float(np.median(pdist(x[:1000], "sqeuclidean")))
    return KernelPCA(2, kernel="rbf", gamma=1 / median, fit_inverse_transform=True, random_state=seed)


def _lle(x: np.ndarray, y: np.ndarray | None, seed: int) -> LocallyLinearEmbedding:
    return LocallyLinearEmbedding(n_neighbors=NUM_NEIGHBORS, n_components=2, random_state=seed)


def _umap(x: np.ndarray, y: np.ndarray | None, seed: int) -> Any:
    from umap import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1, random_state=seed, n_jobs=1)  # one thread: a seed needs it
