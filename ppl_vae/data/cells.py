"""Cells: AnnData objects, and the .h5ad files they are stored in, which are read and written by h5py."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.coding import as_text
from ppl_vae.data.context import conditions, tensors
from ppl_vae.data.data import Data
from ppl_vae.data.formats import Format, Made, damaged
from ppl_vae.domain import Domain
from ppl_vae.files import regular, written
from ppl_vae.libraries import h5py, pd, sparse

__all__ = ["Cells", "H5ad", "from_anndata", "genes", "matrix"]


class Cells:
    """What a .h5ad file holds of an AnnData object, read when it is asked for.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.obs = self._read("obs", _frame)
        self.var_names = self._read("var", _index)
        self.layers = _Lazily(self._read("/", lambda file: list(file.get("layers", []))), self._layer)

    @property
    def X(self) -> Any:  # noqa: N802, as AnnData has it
        """The matrix, (cells, genes): an array, or sparse."""
        return self._read("X", _matrix)

    def _layer(self, name: str) -> Any:
        return self._read(f"layers/{name}", _matrix)

    def _read(self, name: str, how: Callable[[Any], Any]) -> Any:
        try:
            with h5py.File(regular(self.path), "r") as file:
                return how(file[name])
        except (OSError, KeyError, AttributeError, TypeError) as error:
            raise damaged(self.path, "cells of AnnData", error, "write it anew with adata.write_h5ad(path)") from error


class _Lazily(Mapping[str, Any]):
    """Values by name, read when they are asked for."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Any]) -> None:
        self.names, self.read = names, read

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class H5ad(Format):
    """Cells of AnnData."""

    endings = (".h5ad",)

    def read(self, path: Path) -> Any:
        """`Cells`."""
        return Cells(path)

    def write(self, path: Path, made: Made, source: Path) -> str:
        """The source, and with it: codes in obsm, scores in obs, values of genes in layers, under names with vae_."""
        arrays = {str(c): made[c].to_numpy() for c in made} if isinstance(made, pd.DataFrame) else made
        with written(path) as temporary:
            shutil.copyfile(source, temporary)
            with h5py.File(temporary, "r+") as file:
                num_genes = len(_index(file["var"]))
                for name, values in arrays.items():
                    _add(file, name, values, num_genes)
        return "holds the new data, too"


@checked
def from_anndata(
    adata: Any,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    labels_key: str | None = None,
    context: Sequence[str] = (),
    seed: Seed = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    name: str = "cells",
) -> Data:
    """Data of cells: x are counts or expression values (n, genes), kept sparse where they are.

    The cells of a split are ``adata[split.index.numpy()]``. Codes go back by
    ``adata.obsm["X_vae"] = vae.encode(run.prepare(adata)).mean.detach().numpy()``.

    Parameters
    ----------
    adata
        An AnnData object; anndata itself, which asks for pandas below 3, is not needed: `from_file` reads .h5ad files.
    layer
        The layer to take in place of ``adata.X``: raw counts, say.
    batch_key
        The column of ``adata.obs`` that says the batch of a cell: the first context, one-hot.
    labels_key
        The column of labels.
    context
        Further columns that the model is given, as in `from_frame`.
    seed, fractions, name
        As for `from_arrays`.

    Returns
    -------
    Data
        Of counts where all values are whole numbers from 0 on.

    Raises
    ------
    ValueError
        For a layer or columns that are not there, missing batches or labels, and all that `from_arrays` refuses.
    """
    if not all(hasattr(adata, part) for part in ("X", "layers", "obs", "var_names")):
        raise TypeError(
            f"from_anndata expects an AnnData object, got {type(adata).__name__}; give one (anndata asks for pandas "
            "below 3: pip install 'ppl_vae[cells]'), or the path of a .h5ad file to from_file, which needs no anndata, "
            "or arrays to from_arrays"
        )
    x, columns = matrix(adata, layer), [*([batch_key] if batch_key else []), *context]
    obs = _chosen(adata.obs, [*columns, *([labels_key] if labels_key else [])])
    if batch_key:  # a number of a batch is its name
        obs = obs.assign(**{batch_key: obs[batch_key].astype(object).map(as_text).where(obs[batch_key].notna())})
    y = None if labels_key is None else _labels(obs[labels_key])
    plain = from_arrays(x, y, domain=_domain(x), seed=seed, fractions=fractions, name=name)
    train = np.isin(np.arange(len(obs)), plain.train.index.numpy())
    records = [conditions(obs[[key]], train) for key in columns]
    given = tensors(obs, records)
    splits: dict[str, Any] = {
        role: replace(split, context=tuple(c[split.index] for c in given)) for role, split in plain.splits.items()
    }
    said: dict[str, Any] = {"genes": genes(adata), "layer": layer, "label": labels_key, "conditions": records}
    said |= {"classes": list(plain.classes or ())}
    return replace(plain, provenance={**plain.provenance, **{k: v for k, v in said.items() if v}}, **splits)


def _chosen(obs: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    if absent := [name for name in names if name not in obs]:
        raise ValueError(
            f"from_anndata expects columns of obs, {', '.join(map(str, obs))}, got {', '.join(absent)}; correct the "
            "names"
        )
    return obs[list(dict.fromkeys(names))].reset_index(drop=True)


def _labels(values: pd.Series) -> np.ndarray:
    if values.isna().any():
        raise ValueError(f"labels expect a value for each cell, got gaps in {values.name!r}; leave such cells out")
    labels: np.ndarray = values.astype(object).map(as_text).to_numpy()
    return labels


def matrix(adata: Any, layer: str | None) -> Any:
    """The values of cells: ``adata.X``, or a layer.

    Raises
    ------
    ValueError
        For a layer that is not there, and for cells without values.
    """
    if layer is not None and layer not in adata.layers:
        known = ", ".join(adata.layers) or "none"
        raise ValueError(f"from_anndata expects one of the layers, {known}, got {layer!r}; correct it, or leave it out")
    x = adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise ValueError("from_anndata expects values in adata.X, got none; give the layer= that holds them")
    return x if sparse.issparse(x) else np.asarray(x)


def genes(adata: Any) -> str:
    """SHA-256 of the names of the genes in their order."""
    return hashlib.sha256("\n".join(map(str, adata.var_names)).encode()).hexdigest()


def _domain(x: Any) -> Domain | None:
    """Counts, where all values are whole numbers from 0 on: AnnData holds them as floats."""
    values = x.data if sparse.issparse(x) else x
    return Domain("counts") if bool((values >= 0).all() and (values == np.rint(values)).all()) else None


def _matrix(stored: Any) -> Any:
    if isinstance(stored, h5py.Dataset):
        return stored[:]
    kind = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}
    parts = tuple(stored[part][:] for part in ("data", "indices", "indptr"))
    return kind[stored.attrs["encoding-type"]](parts, shape=tuple(stored.attrs["shape"]))


def _frame(stored: Any) -> pd.DataFrame:
    return pd.DataFrame({name: _column(stored[name]) for name in stored.attrs["column-order"]}, index=_index(stored))


def _index(stored: Any) -> pd.Index:
    return pd.Index(_column(stored[stored.attrs["_index"]]))


def _column(stored: Any) -> Any:
    if isinstance(stored, h5py.Dataset):
        return stored.asstr()[:] if h5py.check_string_dtype(stored.dtype) else stored[:]
    if stored.attrs["encoding-type"] == "categorical":
        categories = _column(stored["categories"])
        return pd.Categorical.from_codes(
            stored["codes"][:], categories, ordered=bool(stored.attrs.get("ordered", False))
        )
    values = pd.Series(_column(stored["values"]))  # nullable-integer, nullable-boolean, nullable-string-array
    return values.where(~stored["mask"][:]).to_numpy()


def _add(file: Any, name: str, values: np.ndarray, num_genes: int) -> None:
    if values.ndim == 1:
        group, key = file["obs"], f"vae_{name}"
        order = list(group.attrs["column-order"])
        group.attrs["column-order"] = np.array([*order, *([] if key in order else [key])], dtype=h5py.string_dtype())
    else:
        of_genes = name == "x" and values.shape[1:] == (num_genes,)
        group, key = file.require_group("layers" if of_genes else "obsm"), f"{'' if of_genes else 'X_'}vae_{name}"
        _encoding(group, "dict", "0.1.0")
    if key in group:
        del group[key]
    _encoding(group.create_dataset(key, data=values), "array", "0.2.0")


def _encoding(stored: Any, kind: str, version: str) -> None:
    stored.attrs["encoding-type"], stored.attrs["encoding-version"] = kind, version
