"""New data as those that a model was trained on: every recorded step, with the numbers of the training data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.arrays import read
from ppl_vae.data.cells import genes, matrix
from ppl_vae.data.coding import as_text, check_known, check_values, encoded, in_text
from ppl_vae.data.columns import Columns
from ppl_vae.data.context import tensors
from ppl_vae.data.parquet import ParquetRows, Table
from ppl_vae.data.parts import whole
from ppl_vae.data.ragged import is_ragged, padded
from ppl_vae.data.transforms import Dequantize, SampleBinary, Standardize, Threshold
from ppl_vae.domain import Domain
from ppl_vae.libraries import pd
from ppl_vae.rows import Rows
from ppl_vae.split import Split

__all__ = ["prepared"]


def prepared(
    provenance: Mapping[str, Any],
    recipe: Mapping[str, Any],
    raw: Any,
    *,
    y: Any = None,
    context: Any = None,
    raw_domain: Domain | None = None,
    seed: int = 0,
) -> Split:
    """New data as a split in the units of the training data.

    Parameters
    ----------
    provenance
        Of the training data.
    recipe
        `VAE.recipe`: shapes and domain of what the model takes.
    raw
        A frame for data that came from one, else an array (n, *x_shape), in which NaN is missing, or sequences of at
        most as many steps as in training; or arrays by name, as a ``.npz`` file holds them: x, mask, y, context. Labels
        of such a file, and the column of labels of a frame, may be there where the model is not given them.
    y
        Labels, as names or codes, where the model was conditioned on labels and `raw` has no column of them.
    context
        Contexts of arrays, each (n, ...); those of a frame and of cells are columns of it.
    raw_domain
        The values of `raw`, where they are binarized, are not in [0, 1], and are others than those of the training.
    seed
        Of what is drawn: binarization, dequantization.

    Raises
    ------
    ValueError
        For other columns, categories, labels or contexts than in training, values outside the domain, and what would
        not be used: labels or contexts that columns hold, or that the model is not given, arrays whose name is nearly
        one of those above, and a `raw_domain` of other levels where nothing is binarized.

    Warns
    -----
    UserWarning
        For arrays of other names, such as those of other splits, which are left out.
    """
    given = _by_name(raw, y, context)
    conditioned = [record["transform"] for record in provenance.get("transforms", [])].count("condition_on_labels")
    _check_used(raw_domain, provenance, recipe)
    if y is not None and not conditioned:
        raise ValueError(
            "prepare expects y= for a VAE that was conditioned on labels, got it for one that is not given them; leave "
            "it out"
        )
    split, labels = _as_split(provenance, given, recipe["x_shape"])
    _check_number(len(split.context), len(recipe["context"]) - conditioned, "; give labels by y=" * bool(conditioned))
    _check_shape("x", split.x, recipe["x_shape"])
    for record in provenance.get("transforms", []):
        split = _after(split, record, labels, provenance, raw_domain or _grey(given["x"], provenance))
    said = {k: v for k, v in provenance.items() if k not in ("split", "sizes", "sha256", "md5", "path")}
    classes = tuple(said.get("classes") or ()) or None
    split = replace(split.fixed(seed), domain=Domain(**recipe["domain"]), provenance=said, classes=classes)
    _check(split, recipe)
    return split


def _by_name(raw: Any, y: Any, context: Any) -> dict[str, Any]:
    """What is given, by the names that arrays have in a file."""
    given = {"x": raw, "mask": None, "y": y, "context": context}
    if not isinstance(raw, Mapping) or "x" not in raw:
        return given
    others = [str(name) for name in raw if name not in given]
    if meant := [name for name in others if get_close_matches(name, given, cutoff=0.8)]:
        raise ValueError(
            f"prepare expects arrays named {', '.join(given)}, got {', '.join(meant)}; leave them out, or rename them"
        )
    if others:
        warnings.warn(f"of the arrays x, mask, y and context are used; left out: {', '.join(others)}", stacklevel=5)
    if twice := [name for name in ("y", "context") if name in raw and given[name] is not None]:
        raise ValueError(f"prepare expects {twice[0]} once, got it as an argument and among the arrays; leave one out")
    return given | dict(raw)


def _check_used(raw_domain: Domain | None, provenance: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    """Refuse a domain of raw values that nothing is done with, unless it is that of the training data."""
    known, steps = Domain(**recipe["domain"]), [record["transform"] for record in provenance.get("transforms", [])]
    if raw_domain is None or "binarize" in steps or raw_domain.levels == known.levels:
        return
    raise ValueError(
        f"prepare expects domain= for data that are binarized, got {raw_domain.described} for {known.described} data"
        f"{f' of {known.levels} levels' if known.kind == 'unit' and known.levels else ''} that are not; leave it out, "
        "and give values of the training data's domain"
    )


def _as_split(provenance: Mapping[str, Any], given: Mapping[str, Any], x_shape: Sequence[int]) -> tuple[Split, Any]:
    """The raw data as a split, and their labels; `None` for none."""
    raw, contexts = given["x"], _several(given["context"])
    cells = hasattr(raw, "obs") and hasattr(raw, "var_names")
    if cells or "columns" in provenance:
        return _of_columns(_of_cells if cells else _of_frame, provenance, given)
    if "padded" in provenance or is_ragged(raw):
        raw = padded("raw", raw, x_shape[0])
    split = read("raw", raw, given["mask"])
    return replace(split, context=_contexts(provenance, contexts)), given["y"]


def _several(context: Any) -> tuple[Any, ...]:
    return () if context is None else context if isinstance(context, tuple) else (context,)


def _of_columns(
    read: Callable[..., tuple[Split, Any]], provenance: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Split, Any]:
    """A frame or cells as a split, and their labels: those of a column, else those that are given beside them."""
    apart = {"mask": given["mask"], "context": _several(given["context"]) or None}
    if said := [name for name, value in apart.items() if value is not None]:
        names = [one["column"]["name"] for several in provenance.get("conditions", []) for one in several]
        fix = {
            "mask": "make what is missing NaN",
            "context": f"give the columns {', '.join(names)} in its place" if names else "leave it out",
        }
        raise ValueError(
            f"prepare expects no {said[0]} beside a frame or cells, whose values and columns hold it, got one; "
            f"{fix[said[0]]}"
        )
    split, column = read(provenance, given["x"])
    if column is not None and given["y"] is not None:
        raise ValueError(
            f"prepare expects the labels once, got y= and the column {provenance['label']!r}; leave one of them out"
        )
    return split, given["y"] if column is None else column


def _check_number(number: int, known: int, more: str = "") -> None:
    """Refuse another number of contexts than in training, beside the labels."""
    if number != known:
        raise ValueError(
            f"prepare expects {known or 'no'} context{'s' * (known > 1)}, as in training, got {number}; "
            + ("give each by context=" if number < known else "leave the others out" if known else "leave it out")
            + more
        )


def _check(split: Split, recipe: Mapping[str, Any]) -> None:
    for i, (c, shape) in enumerate(zip(split.context, recipe["context"], strict=True)):
        _check_shape(f"context[{i}]", c, shape)
    domain = split.domain
    assert domain is not None
    rows = split.x
    inside = rows.all(domain.contains) if isinstance(rows, Rows) else domain.contains(rows, split.mask)
    if not inside:
        if isinstance(rows, ParquetRows):
            check_values(Columns.of(split.provenance["columns"]), rows.parts())
        came = "" if isinstance(rows, Rows) else f" from {float(rows.min()):g} to {float(rows.max()):g}"
        raise ValueError(
            f"prepare expects {domain.described} values after the steps of the training data, got others{came}; give "
            "raw values in the units of the training data"
        )


def _check_shape(name: str, values: Any, shape: Sequence[int]) -> None:
    if list(values.shape[1:]) != list(shape):
        raise ValueError(
            f"prepare expects {name} of shape (n, {', '.join(map(str, shape))}), as in training, got "
            f"{tuple(values.shape)}; give data as those of the training"
        )


def _of_frame(provenance: Mapping[str, Any], raw: Any) -> tuple[Split, Any]:
    """The split of a frame and its labels, `None` where it has no such column."""
    columns = Columns.of(provenance["columns"])
    if isinstance(raw, Table):
        return _of_table(provenance, columns, raw)
    if not isinstance(raw, pd.DataFrame):
        raise ValueError(
            f"prepare expects a frame with the columns {', '.join(columns.names)}, got {type(raw).__name__}; give one"
        )
    frame = in_text(raw, "prepare")
    records = provenance.get("conditions", [])
    _check_names(provenance, columns, list(frame))
    values, there = encoded(frame, columns)
    check_values(columns, [values])
    x = torch.from_numpy(np.where(there, values, 0.0))
    split = whole(x, mask=None if there.all() else torch.from_numpy(there))
    return replace(split, context=tensors(frame, records)), frame.get(provenance.get("label"))


def _of_table(provenance: Mapping[str, Any], columns: Columns, table: Table) -> tuple[Split, Any]:
    """`_of_frame` of a table that stays on disk."""
    _check_names(provenance, columns, table.names)
    records, label = provenance.get("conditions", []), provenance.get("label")
    apart = [one["column"]["name"] for several in records for one in several]
    frame = table.frame([*apart, *([label] if label in table.names else [])])
    rows = ParquetRows(table, Columns(replace(one, missing=1.0) for one in columns))  # as any of them may be here
    split = whole(rows, mask=rows.observed)
    return replace(split, context=tensors(frame, records)), frame.get(label)


def _check_names(provenance: Mapping[str, Any], columns: Columns, names: Sequence[str]) -> None:
    records = provenance.get("conditions", [])
    known = {*columns.names, *(one["column"]["name"] for several in records for one in several)}
    known |= {*provenance.get("apart", []), provenance.get("label")}
    check_known("prepare", names, [name for name in known if name is not None])


def _of_cells(provenance: Mapping[str, Any], adata: Any) -> tuple[Split, Any]:
    """The split of cells and their labels, `None` where they have no such column."""
    if provenance.get("genes") not in (None, genes(adata)):
        raise ValueError(
            "prepare expects the genes of the training data in their order, got others; bring them into it: "
            "adata[:, trained.var_names]"
        )
    split = read("raw", matrix(adata, provenance.get("layer")))
    obs = adata.obs.reset_index(drop=True)
    return replace(split, context=tensors(obs, provenance.get("conditions", []))), obs.get(provenance.get("label"))


def _contexts(provenance: Mapping[str, Any], arrays: Sequence[Any]) -> tuple[Tensor, ...]:
    """Contexts of arrays, by the records of the training data where these were standardized."""
    records = provenance.get("conditions")
    if records is None:
        given = [torch.as_tensor(np.asarray(c)) if not isinstance(c, Tensor) else c for c in arrays]
        return tuple(c[:, None] if c.dim() == 1 else c for c in given)  # as `from_arrays` does
    _check_number(len(arrays), len(records))
    made: tuple[Tensor, ...] = ()
    for array, several in zip(arrays, records, strict=True):
        plain = np.asarray(array).reshape(len(array), -1)
        if plain.shape[1] != len(several):
            raise ValueError(
                f"prepare expects a context of {len(several)} columns, as in training, got {plain.shape[1]}; give them"
            )
        names = [one["column"]["name"] for one in several]
        made += tensors(
            pd.DataFrame({name: column.tolist() for name, column in zip(names, plain.T, strict=True)}), [several]
        )
    return made


def _grey(raw: Any, provenance: Mapping[str, Any]) -> Domain | None:
    """The domain of grey levels of 8 or 16 bits: as many as in training, where that is known."""
    levels = {"uint8": 256, "uint16": 65536}.get(str(getattr(raw, "dtype", "")).removeprefix("torch."))
    return None if levels is None else Domain("levels", provenance.get("grey_levels", levels))


def _after(
    split: Split, record: Mapping[str, Any], y: Any, provenance: Mapping[str, Any], grey: Domain | None
) -> Split:
    step = _STEPS.get(record["transform"])
    return split if step is None else step(split, record, y, provenance, grey)


def _binarized(split: Split, record: Mapping[str, Any], y: Any, provenance: Any, grey: Domain | None) -> Split:
    known = provenance.get("grey_levels")
    if grey is None and known is not None and not _within(split, 1.0):
        grey = Domain("levels", known)
    top = grey.levels - 1.0 if grey is not None and isinstance(grey.levels, int) else 1.0
    if not _within(split, top):
        expected = "grey values to binarize in [0, 1], or of 8 or 16 bits"
        expected = expected if grey is None else f"grey values to binarize from 0 to {top:g}"
        raise ValueError(f"prepare expects {expected}, got values {_of_others(split)}")
    transform: Callable[[Tensor], Tensor] = SampleBinary(top)
    if record["mode"] == "threshold":
        transform = Threshold(record["threshold"], top)
    return replace(split, pending=(*split.pending, transform))


def _of_others(split: Split) -> str:
    """How far values reach that are no grey values of the levels that are known, and what to do."""
    lowest, highest = float(split.x.min()), float(split.x.max())
    if lowest < 0:
        return f"down to {lowest:g}; give raw grey values, which are 0 or more"
    least = math.ceil(highest) + 1
    return (
        f"up to {highest:g} of others; give their domain, of {least} levels or more: domain=Domain('levels', {least}) "
        f"(on the command line --levels {least})"
    )


def _within(split: Split, top: float) -> bool:
    """Whether the observed values lie in [0, top]."""
    unit = Domain("unit")
    if isinstance(split.x, Rows):
        return split.x.all(lambda x, mask: unit.contains(x / top, mask))
    return unit.contains(split.x / top, split.mask)


def _dequantized(split: Split, record: Mapping[str, Any], *_: Any) -> Split:
    return replace(split, pending=(*split.pending, Dequantize(record["levels"])))


def _standardized(split: Split, record: Mapping[str, Any], *_: Any) -> Split:
    loc, scale = (tuple(v) if isinstance(v := record[name], list) else v for name in ("loc", "scale"))
    return replace(split, pending=(*split.pending, Standardize(loc, scale)))


def _conditioned(split: Split, record: Mapping[str, Any], y: Any, provenance: Mapping[str, Any], _: Any) -> Split:
    if y is None or len(y) != len(split):
        came = "none" if y is None else f"{len(y)} for {len(split)} data"
        raise ValueError(f"prepare expects a label for each datum, got {came}; give y=, or the column of labels")
    names = provenance.get("classes") or [str(code) for code in range(record["classes"])]
    codes = {name: code for code, name in enumerate(names)}
    said = list(map(as_text, np.asarray(y).tolist()))
    if strange := [name for name in dict.fromkeys(said) if name not in codes]:
        raise ValueError(
            f"prepare expects labels among {', '.join(names[:20])}, as in training, got {', '.join(strange[:5])}; "
            "correct them"
        )
    one_hot = torch.nn.functional.one_hot(torch.tensor([codes[name] for name in said]), record["classes"])
    return replace(split, context=(*split.context, one_hot.to(split.x.dtype)))


_STEPS: dict[str, Callable[..., Split]] = {  # what chooses or hides data is no preprocessing: take, hide
    "binarize": _binarized,
    "dequantize": _dequantized,
    "standardize": _standardized,
    "condition_on_labels": _conditioned,
}
