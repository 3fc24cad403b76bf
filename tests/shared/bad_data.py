"""Bad inputs of loaders and likelihoods: damaged files of each format, and data of another kind for each leaf."""

import io
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image

import ppl_vae
from ppl_vae import data, likelihoods

__all__ = ["damaged_files", "likelihoods_of_other_data"]

Call = tuple[str, str, Callable[[], Any]]


def _archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


ROWS = np.sin(np.arange(60)).reshape(20, 3)
TABLE = "a,b\n" + "".join(f"{i % 7},{'xyz'[i % 3]}\n" for i in range(20))

FILES: dict[str, bytes] = {
    "nothing.csv": b"",
    "names.csv": b"a,b\n",
    "bytes.csv": bytes(range(256)) * 4,
    "another_encoding.csv": b"a\nf\xfcr\n" * 9,
    "a_row_too_long.csv": TABLE.encode() + b"1,x,3\n",
    "names_twice.csv": b"a,a\n" + b"1,2\n" * 9,
    "infinity.csv": b"a,b\n" + b"1,2\n" * 9 + b"inf,2\n",
    "ids.csv": b"id\n" + b"".join(b"n%d\n" % i for i in range(40)),
    "nothing.tsv": b"",
    "damaged.parquet": b"PAR1 and no table",
    "nothing.parquet": b"",
    "damaged.npy": b"\x93NUMPY and no array",
    "nothing.npy": b"",
    "damaged.npz": b"PK and no archive",
    "cut.npz": _archive(x=ROWS)[:200],
    "other_names.npz": _archive(x=ROWS, weights=ROWS),
    "context_too_short.npz": _archive(x=ROWS, context=ROWS[:3]),
    "no_context.npz": _archive(x=ROWS, context=np.full(20, np.nan)),
    "labels_too_short.npz": _archive(x=ROWS, y=np.arange(3)),
    "mask_of_numbers.npz": _archive(x=ROWS, mask=ROWS),
    "infinity.npz": _archive(x=np.where(ROWS > 0.9, np.inf, ROWS)),
    "an_empty_column.npz": _archive(x=np.where(np.arange(3) == 1, np.nan, ROWS)),
    "damaged.h5ad": b"no cells",
    "words.feat": b"the cat sat\n" * 9,
    "a_word_twice.feat": b"1 3:1 3:2\n" * 9,
    "word_0.feat": b"1 0:1 3:2\n" * 9,
    "infinity.svm": b"1 1:inf 2:1\n" * 9,
    "nothing.feat": b"",
    "sheet.xlsx": b"PK",
    "pickled.pkl": b"\x80\x04.",
    "pictures/damaged.png": b"\x89PNG and no picture",
}
"""Contents of files that cannot be read, by their names."""

OPTIONS: dict[str, dict[str, Any]] = {
    "kinds of no column": {"kinds": {"c": "real"}},
    "an unknown kind": {"kinds": {"a": "ordinal"}},
    "too few levels": {"kinds": {"b": ["x", "y"]}},
    "no such label": {"label": "c"},
    "no such context": {"context": ["c"]},
    "no such split": {"split": "c"},
    "a split of other words": {"split": "b"},
    "a layer of a table": {"layer": "counts"},
    "a size of a table": {"size": (8, 8)},
    "a raw context of a table": {"raw_context": True},
    "a domain of a table": {"domain": data.Domain("real")},
    "test data in no file": {"test": "no/such/file.csv"},
}
"""Arguments that a table with the columns a and b does not take."""


@cache
def _folder() -> Path:
    path = Path(tempfile.mkdtemp())
    for name, content in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    (path / "table.csv").write_text(TABLE)
    with h5py.File(path / "no_cells.h5ad", "w") as file:
        file["obs"] = np.arange(3)
    (path / "sizes").mkdir()
    for i, size in enumerate([(8, 8), (9, 8), (8, 8), (8, 8)]):
        Image.new("L", size).save(path / "sizes" / f"{i}.png")
    return path


def _read(name: str, **options: Any) -> Any:
    return data.from_file(_folder() / name, **options)


def damaged_files() -> Iterator[Call]:
    """Files of each format that cannot be read, and options that a table does not take."""
    for name in [*(name for name in FILES if "/" not in name), "no_cells.h5ad", "pictures", "sizes"]:
        yield "ppl_vae.data.from_file", name, partial(_read, name)
    for what, options in OPTIONS.items():
        yield "ppl_vae.data.from_file", what, partial(_read, "table.csv", **options)


KINDS: dict[str, tuple[Any, data.Domain]] = {
    "real": (3 * ROWS, data.Domain("real")),
    "positive": (ROWS + 2, data.Domain("positive")),
    "unit": ((ROWS + 1) / 2, data.Domain("unit")),
    "binary": (ROWS > 0, data.Domain("binary")),
    "levels": (np.arange(60).reshape(20, 3) % 5, data.Domain("levels", levels=5)),
    "categories": (np.arange(60).reshape(20, 3) % 5, data.Domain("categories", levels=5)),
    "counts": (np.arange(60).reshape(20, 3), data.Domain("counts")),
}
"""Data of each kind."""

OUTSIDE = {
    "real": [np.nan, np.inf],
    "positive": [np.nan, -1.0, 0.0],
    "unit": [np.nan, -0.5, 1.5],
    "binary": [np.nan, 0.5, 2.0],
    "levels": [np.nan, -1.0, 0.5, 5.0],
    "categories": [np.nan, -1.0, 0.5, 5.0],
    "counts": [np.nan, np.inf, -1.0, 0.5],
}
"""Values outside of each kind."""


@cache
def _built(name: str, kind: str) -> ppl_vae.VAE:
    x, domain = KINDS[kind]
    return ppl_vae.build(
        data.from_arrays(x, domain=domain), latent_dim=1, likelihood=getattr(likelihoods, name), seed=0
    )


def _scored(name: str, kind: str, value: float) -> Any:
    x = torch.as_tensor(np.array(KINDS[kind][0], dtype=float))
    x[1, 1] = value
    return ppl_vae.evaluate(_built(name, kind), x, num_samples=2, seed=0, progress=False)


def likelihoods_of_other_data() -> Iterator[Call]:
    """Every likelihood, built for each kind of data that is not its own, and scoring values outside of its kind."""
    for name in likelihoods.__all__:
        leaf = getattr(likelihoods, name)
        public = f"ppl_vae.{name}" if getattr(ppl_vae, name, None) is leaf else f"ppl_vae.likelihoods.{name}"
        for kind in KINDS if leaf.kinds else ():
            if kind not in leaf.kinds:
                yield public, f"{kind} data", partial(_built, name, kind)
        for kind in leaf.kinds[:1]:
            for value in OUTSIDE[kind]:
                yield public, f"a value {value:g} among {kind} data", partial(_scored, name, kind, value)
