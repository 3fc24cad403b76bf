"""Documents as counts of words, in the text format of LIBSVM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.data.formats import Format, Made, damaged
from ppl_vae.files import regular
from ppl_vae.libraries import sparse

__all__ = ["WordCounts"]

_FIX = "write it anew with sklearn.datasets.dump_svmlight_file(x, y, path, zero_based=False)"


class WordCounts(Format):
    """One document a line: a label, where there are labels, then ``word:count`` in any order, words numbered from 1.

    The format of LIBSVM and SVMlight, which topic models share for bags of words. What follows ``#`` is a comment.
    """

    endings = (".feat", ".svm", ".svmlight", ".libsvm")
    made_as = (".npz",)

    def read(self, path: Path) -> dict[str, Any]:
        """Counts as a sparse matrix x, (documents, largest word), and the labels y, where there are some.

        Labels are whole numbers, or text where one is none. A document without words is a row of zeros; a blank line
        is no document.
        """
        labels: list[str] = []
        starts, words, counts = [0], list[int](), list[float]()
        try:
            with regular(path).open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if pairs := line.partition("#")[0].split():
                        labels += [pairs.pop(0)] if ":" not in pairs[0] else []
                        _append(pairs, number, words, counts)
                        starts.append(len(words))
        except (OSError, ValueError) as error:
            raise damaged(path, "lines of a label and word:count", error, _FIX) from error
        num = len(starts) - 1
        if labels and len(labels) != num:
            came = ValueError(f"{len(labels)} labels for {num} documents")
            raise damaged(path, "a label in every line or in none", came, _FIX)
        parts = (np.array(counts), np.array(words, dtype=np.int64) - 1, np.array(starts))
        x = sparse.csr_matrix(parts, shape=(num, max(words, default=0)))
        return {"x": x} | ({"y": _labels(labels)} if labels else {})

    def write(self, path: Path, made: Made, source: Path) -> str:
        """Refused: results are no counts of words."""
        raise ValueError(f"results of documents expect a .npz file, got {path}; change its ending")

    def alike(self, found: Sequence[Any], width: int = 0) -> list[Any]:
        """All with one number of words: that of the widest, or `width`, with zeros for the words that others lack."""
        most = max([width, *(one["x"].shape[1] for one in found)])
        return [one | {"x": _widened(one["x"], most)} for one in found]


def _append(pairs: Sequence[str], number: int, words: list[int], counts: list[float]) -> None:
    """Add one document to the words and counts of all."""
    split = [pair.split(":") for pair in pairs]
    if strange := [pair for pair, parts in zip(pairs, split, strict=True) if len(parts) != 2]:
        raise ValueError(f"{strange[0]!r} in line {number}")
    own = [int(word) for word, _ in split]
    if own and min(own) < 1:
        raise ValueError(f"word {min(own)} in line {number}, where words are numbered from 1")
    if len(set(own)) != len(own):
        raise ValueError(f"a word twice in line {number}")
    words += own
    counts += [float(count) for _, count in split]


def _labels(found: Sequence[str]) -> np.ndarray:
    try:
        return np.array([int(label) for label in found])
    except ValueError:
        return np.array(found)


def _widened(x: Any, width: int) -> Any:
    return sparse.csr_matrix((x.data, x.indices, x.indptr), shape=(x.shape[0], width))
