"""Scores of an embedding: neighbourhoods, classes and reconstruction."""

from __future__ import annotations

import numpy as np
import sklearn.manifold
from numpy.typing import ArrayLike
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae.arguments import Count, Numbers, as_array, checked
from ppl_vae.libraries import pd

__all__ = ["continuity", "neighbours_right", "rmse", "trustworthiness"]


@checked
def trustworthiness(x: Numbers, z: Numbers, *, num_neighbors: Count = 10) -> float:
    """Trustworthiness: whether neighbours in the embedding are neighbours in the data; 1 if all, about 0.5 by chance.

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
        For k of n / 2 or more, and for data that are not (n, D), finite and paired.

    References
    ----------
    Venna and Kaski 2001, doi:10.1007/3-540-44668-0_68.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> trustworthiness(x, x) == 1.0, trustworthiness(x, x[:, :1]) < continuity(x, x[:, :1])
    (True, True)
    """
    rows = _paired("trustworthiness", x=x, z=z)
    if not num_neighbors < len(rows[0]) / 2:
        raise ValueError(
            f"trustworthiness expects fewer neighbours than half the data, got num_neighbors={num_neighbors} of "
            f"{len(rows[0])} data; give fewer"
        )
    return float(sklearn.manifold.trustworthiness(*rows, n_neighbors=num_neighbors))


@checked
def continuity(x: Numbers, z: Numbers, *, num_neighbors: Count = 10) -> float:
    """Continuity: whether neighbours in the data are neighbours in the embedding; `trustworthiness` with x, z swapped.

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
        For k of n / 2 or more, and for data that are not (n, D), finite and paired.

    References
    ----------
    Venna and Kaski 2006, doi:10.1016/j.neunet.2006.05.014.
    """
    return trustworthiness(z, x, num_neighbors=num_neighbors)


@checked
def neighbours_right(
    z_train: Numbers, y_train: ArrayLike, z: Numbers, y: ArrayLike, *, num_neighbors: Count = 10
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

    Raises
    ------
    ValueError
        For other shapes, values that are not finite, labels that are NaN, and more neighbours than data.

    Examples
    --------
    >>> neighbours_right([[0.0], [1.0], [8.0]], [0, 0, 1], [[0.4], [7.0]], [0, 0], num_neighbors=1)
    array([ True, False])
    """
    pairs = ((z_train, y_train), (z, y))
    (train, train_labels), (other, labels) = ((_rows("neighbours_right", "z", a), as_array(b)) for a, b in pairs)
    shapes = [a.shape for a in (train, train_labels, other, labels)]
    if shapes[1::2] != [(len(train),), (len(other),)] or train.shape[1] != other.shape[1]:
        raise ValueError(
            "neighbours_right expects codes (m, d) and (n, d) with labels (m,) and (n,), got z_train, y_train, z, y of "
            f"shapes {shapes}; give one label for each code"
        )
    if num_neighbors > len(train) or any(_is_nan(v) for v in (train_labels, labels)):
        raise ValueError(
            f"neighbours_right expects as many training data as neighbours, and labels that are not NaN, got "
            f"num_neighbors={num_neighbors} of {len(train)} data; give fewer neighbours, or data with labels"
        )
    return KNeighborsClassifier(num_neighbors).fit(train, train_labels).predict(other) == labels


def _is_nan(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "fcO" and bool(pd.isna(labels).any())


@checked
def rmse(x: Numbers, x_hat: Numbers) -> float:
    """Root of the mean squared difference over all data and elements, in the units of x.

    Raises
    ------
    ValueError
        For other shapes, no data, and values that are not finite.
    """
    a, b = (as_array(v).astype(float) for v in (x, x_hat))
    if a.shape != b.shape or not a.size or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            f"rmse expects finite data and reconstructions of one shape, got {a.shape} and {b.shape}, with "
            f"{np.sum(~np.isfinite(a))} and {np.sum(~np.isfinite(b))} values that are not finite; match them"
        )
    return float(np.sqrt(np.mean(np.square(a - b))))


def _rows(caller: str, name: str, values: ArrayLike) -> np.ndarray:
    """Vectors (n, d), finite."""
    found = as_array(values).astype(float)
    if found.ndim != 2 or 0 in found.shape or not np.isfinite(found).all():
        raise ValueError(
            f"{caller} expects {name} to be finite vectors (n, d), got shape {found.shape} with "
            f"{np.sum(~np.isfinite(found))} values that are not finite; flatten each datum, fill in what is missing"
        )
    return found


def _paired(caller: str, **named: ArrayLike) -> list[np.ndarray]:
    """Vectors that belong together."""
    found = [_rows(caller, name, values) for name, values in named.items()]
    if len({len(v) for v in found}) > 1:
        raise ValueError(
            f"{caller} expects one row of each a datum, got {' and '.join(str(len(v)) for v in found)}; give the same "
            "data in the same order"
        )
    return found
