"""What an embedding keeps: neighbourhoods, classes, and the data themselves."""

from __future__ import annotations

import numpy as np
import sklearn.manifold
from numpy.typing import ArrayLike
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae.arguments import Count, checked

__all__ = ["continuity", "neighbours_right", "rmse", "trustworthiness"]


@checked
def trustworthiness(x: ArrayLike, z: ArrayLike, *, num_neighbors: Count = 10) -> float:
    """How far neighbours in the embedding are neighbours in the data: 1 if all are, about 0.5 by chance.

    1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_j (r(i, j) - k), over the j among the k nearest to i in z but not in x,
    with r(i, j) the rank of j by its distance from i in x. Scikit-learn's.

    Parameters
    ----------
    x
        Data, (n, D).
    z
        Their embedding, (n, d).
    num_neighbors
        k, below n / 2.

    Raises
    ------
    ValueError
        For k of n / 2 or more.

    References
    ----------
    Venna and Kaski 2001, doi:10.1007/3-540-44668-0_68.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> trustworthiness(x, x) == 1.0, trustworthiness(x, x[:, :1]) < continuity(x, x[:, :1])
    (True, True)
    """
    return float(sklearn.manifold.trustworthiness(np.asarray(x), np.asarray(z), n_neighbors=num_neighbors))


@checked
def continuity(x: ArrayLike, z: ArrayLike, *, num_neighbors: Count = 10) -> float:
    """How far neighbours in the data are neighbours in the embedding: `trustworthiness` with the spaces exchanged.

    Parameters
    ----------
    x
        Data, (n, D).
    z
        Their embedding, (n, d).
    num_neighbors
        k, below n / 2.

    Raises
    ------
    ValueError
        For k of n / 2 or more.

    References
    ----------
    Venna and Kaski 2006, doi:10.1016/j.neunet.2006.05.014.
    """
    return trustworthiness(z, x, num_neighbors=num_neighbors)


@checked
def neighbours_right(
    z_train: ArrayLike, y_train: ArrayLike, z: ArrayLike, y: ArrayLike, *, num_neighbors: Count = 10
) -> np.ndarray:
    """Whether the k nearest training data give each datum its label by vote; the mean is the k-NN accuracy.

    Parameters
    ----------
    z_train, y_train
        Embedded training data, (m, d), and their labels, (m,).
    z, y
        Embedded other data, (n, d), and their labels, (n,).
    num_neighbors
        k.

    Returns
    -------
    ndarray
        Booleans, (n,).

    Examples
    --------
    >>> neighbours_right([[0.0], [1.0], [8.0]], [0, 0, 1], [[0.4], [7.0]], [0, 0], num_neighbors=1)
    array([ True, False])
    """
    found = KNeighborsClassifier(num_neighbors).fit(np.asarray(z_train), np.asarray(y_train))
    return found.predict(np.asarray(z)) == np.asarray(y)


@checked
def rmse(x: ArrayLike, x_hat: ArrayLike) -> float:
    """Root of the mean squared difference over all data and elements, in the units of x."""
    return float(np.sqrt(np.mean(np.square(np.asarray(x) - np.asarray(x_hat)))))
