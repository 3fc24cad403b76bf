"""Embeddings of the same data by several methods, with the same scores on the same held-out data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ppl_vae.arguments import Count, checked
from ppl_vae.calls import verb
from ppl_vae.libraries import pd
from ppl_vae.manifold.distance_correlation import distance_correlation
from ppl_vae.manifold.methods import Method, methods
from ppl_vae.manifold.scores import continuity, neighbours_right, rmse, trustworthiness
from ppl_vae.precision import in_float64
from ppl_vae.split import Split

__all__ = ["Benchmark", "benchmark"]


class Splits(Protocol):
    """The attributes of a data set that `benchmark` reads; every data set of `ppl_vae.data` has them."""

    @property
    def train(self) -> Split: ...
    @property
    def test(self) -> Split: ...


@checked
@dataclass(frozen=True, repr=False)
class Benchmark:
    """Result of `benchmark`.

    Attributes
    ----------
    scores
        One row per method and seed: `trustworthiness`, `continuity`, `knn_accuracy` (where there are labels), `rmse`
        (in raw units, where the method has an inverse), `distance_correlation` (where the data have factors) and
        `seconds`; and whether the rows it was scored on were `held_out`.
    embeddings
        Codes of the held-out data by method, (n, 2) or (n, 1), of the first seed.
    right
        Whether k-NN found the label of each held-out datum, by method, (seeds, n); empty without labels.
    held_out
        The held-out data.
    left_out
        Reason by method for those that could not run.
    """

    scores: pd.DataFrame
    embeddings: dict[str, np.ndarray]
    right: dict[str, np.ndarray]
    held_out: Split
    left_out: dict[str, str]

    def __repr__(self) -> str:
        table = self.summary().rename(columns={"rmse": "rmse (raw units)"}, level=0)
        return f"Scores from 0 to 1, mean and sd over the seeds\n{table.to_string(float_format='{:.3f}'.format)}"

    def summary(self) -> pd.DataFrame:
        """Mean and sd of every score over the seeds, one row per method, in the order they ran.

        The data are fixed: the sd is that over a method's random numbers, 0 for a deterministic one. It does not
        include the sampling of the held-out data; for that see `differences`.
        """
        seeds = self.scores.drop(columns=["seed", "held_out"]).groupby("method", sort=False)
        return seeds.agg(["mean", "std"]).dropna(axis=1, how="all").rename(columns={"std": "sd"}, level=1)

    def differences(self, name: str) -> pd.DataFrame:
        """k-NN accuracy of a method less that of every other one, with standard errors.

        Parameters
        ----------
        name
            The method.

        Returns
        -------
        DataFrame
            One row for each other method: `difference`; `se_images`, from the paired differences of the held-out
            data (each averaged over the seeds); `se_seeds`, from the spread over the seeds; `se`, both together;
            and `difference / se`.

        Raises
        ------
        ValueError
            Without labels, or for a method that did not run.
        """
        if name not in self.right:
            raise ValueError(
                f"differences expects a method with k-NN accuracies, got {name!r} and {list(self.right)}; choose one "
                "of these, and data with labels"
            )
        own = self.right[name]
        rows = {other: _difference(own, right) for other, right in self.right.items() if other != name}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("other")


@verb
def benchmark(
    data: Splits,
    chosen: Mapping[str, Method] | None = None,
    *,
    seeds: Count = 3,
    num_train: Count = 5000,
    num_held_out: Count = 1000,
    num_neighbors: Count = 10,
    progress: bool | None = None,
) -> Benchmark:
    """Fit every method to the training data, and score how it embeds held-out data.

    All get the same x: raw values, flattened, each element centred and all divided by one number, which changes no
    ratio of distances. Methods that cannot embed new data are fitted to training and held-out data together (without
    labels) and scored on the same held-out rows: in-sample, so their scores flatter them.

    The data are fixed, the first so many of each split; a seed is the method's `random_state`.

    Parameters
    ----------
    data
        A data set; its training and test data are used.
    chosen
        Methods by name; by default all of `methods()`. Those that need labels, or a package that is not there, are
        left out, and `left_out` says so.
    seeds
        Every method runs with the seeds 0, 1, ..., seeds - 1.
    num_train, num_held_out
        How many data at most.
    num_neighbors
        k of trustworthiness and continuity (among the held-out data) and of k-NN (training data vote).
    progress
        Whether to show a progress bar; by default where the output is a terminal.

    Returns
    -------
    Benchmark

    Raises
    ------
    ValueError
        For no methods, missing elements, data that are not finite, or too few of them for the neighbours.

    Examples
    --------
    >>> from ppl_vae import data
    >>> linear = {name: methods()[name] for name in ("PCA", "LDA")}
    >>> found = benchmark(data.load("digits"), linear, seeds=1, num_train=300, num_held_out=100)
    >>> found.scores[["method", "knn_accuracy", "held_out"]].round(2)
      method  knn_accuracy  held_out
    0    PCA          0.47      True
    1    LDA          0.66      True
    """
    train, held_out = (_ready(split, most) for split, most in ((data.train, num_train), (data.test, num_held_out)))
    if not num_neighbors < len(held_out) / 2 or len(train) <= num_neighbors:
        raise ValueError(
            "benchmark expects more training data than neighbours, and more than twice as many held-out data, got "
            f"{len(train)} training and {len(held_out)} held-out data for {num_neighbors} neighbours; "
            "give more data or a smaller num_neighbors"
        )
    runner = _Runner(train, held_out, num_neighbors)
    chosen = methods() if chosen is None else chosen
    if not chosen:
        raise ValueError("benchmark expects one method or more, got none; choose some of methods()")
    left_out = {name: why for name, method in chosen.items() if (why := runner.impossible(method))}
    runs = [(name, seed) for name in chosen if name not in left_out for seed in range(seeds)]
    rows: list[dict[str, Any]] = []
    embeddings: dict[str, np.ndarray] = {}
    right: dict[str, list[np.ndarray]] = {}
    with tqdm(runs, disable=None if progress is None else not progress) as bar:
        for name, seed in bar:
            bar.set_description(name)
            # UMAP leaves OpenMP's number of threads changed, for PyTorch too; the limit puts it back
            with threadpool_limits(torch.get_num_threads(), user_api="openmp"):
                row, z, correct = runner.run(chosen[name], seed)
            rows.append({"method": name, "seed": seed, **row})
            embeddings.setdefault(name, z)
            if correct is not None:
                right.setdefault(name, []).append(correct)
    return Benchmark(
        pd.DataFrame(rows), embeddings, {name: np.stack(found) for name, found in right.items()}, held_out, left_out
    )


class _Runner:
    """The data as every method sees them, and the scores of one method on them."""

    def __init__(self, train: Split, held_out: Split, num_neighbors: int) -> None:
        raw = [_raw(split) for split in (train, held_out)]
        loc = raw[0].mean(0)
        self.scale = float((raw[0] - loc).std()) or 1.0
        self.x_train, self.x = ((x - loc) / self.scale for x in raw)
        self.y_train, self.y = (None if split.y is None else split.y.cpu().numpy() for split in (train, held_out))
        self.factors = None if held_out.factors is None else held_out.factors.cpu().numpy()
        self.num_neighbors = num_neighbors

    def impossible(self, method: Method) -> str:
        """Why a method cannot run; empty if it can."""
        if method.needs_labels and self.y_train is None:
            return "it needs labels, and the data have none"
        return f"it is not installed: {method.missing}" if method.missing else ""

    def run(self, method: Method, seed: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
        """Scores, codes of the held-out data, and whether k-NN gave each its label."""
        estimator = method.make(self.x_train, self.y_train, seed)
        start = time.perf_counter()
        z_train, z = self._embedded(method, estimator)
        row: dict[str, Any] = {"held_out": method.out_of_sample, "seconds": time.perf_counter() - start}
        row["trustworthiness"] = trustworthiness(self.x, z, num_neighbors=self.num_neighbors)
        row["continuity"] = continuity(self.x, z, num_neighbors=self.num_neighbors)
        right = None
        if self.y_train is not None and self.y is not None:
            right = neighbours_right(z_train, self.y_train, z, self.y, num_neighbors=self.num_neighbors)
            row["knn_accuracy"] = right.mean()
        if method.inverse:
            row["rmse"] = self.scale * rmse(self.x, estimator.inverse_transform(z))
        if self.factors is not None:
            row["distance_correlation"] = distance_correlation(z, self.factors)
        return row, z, right

    def _embedded(self, method: Method, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
        if not method.out_of_sample:
            both = estimator.fit_transform(np.concatenate([self.x_train, self.x]))
            return both[: len(self.x_train)], both[len(self.x_train) :]
        z_train = estimator.fit_transform(self.x_train, self.y_train if method.needs_labels else None)
        return z_train, estimator.transform(self.x)


def _ready(split: Split, most: int) -> Split:
    if split.mask is not None:
        raise ValueError(
            f"benchmark expects complete data, got a mask over {len(split)} data; leave out data.hide(), or fill in "
            "what is missing"
        )
    return Split.of(split[:most].fixed())


def _raw(split: Split) -> np.ndarray:
    x = in_float64(split.x) if split.domain is None else split.domain.raw(in_float64(split.x))
    return x.reshape(len(x), -1).cpu().numpy()


def _difference(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Of two methods' right answers (seeds, n)."""
    paired = own.mean(0) - other.mean(0)
    of_images = paired.std(ddof=1) / np.sqrt(len(paired))
    spreads = [right.mean(1).var(ddof=1) / len(right) if len(right) > 1 else 0.0 for right in (own, other)]
    se = float(np.sqrt(of_images**2 + sum(spreads)))
    found = {"difference": paired.mean(), "se_images": of_images, "se_seeds": float(np.sqrt(sum(spreads))), "se": se}
    return found | {"difference / se": paired.mean() / se if se > 0 else np.nan}
