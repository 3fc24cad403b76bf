"""What a model is conditioned on: numbers standardized, categories one-hot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.coding import encoded
from ppl_vae.data.columns import Columns
from ppl_vae.data.kinds import NOTHING, Told, decided
from ppl_vae.libraries import pd
from ppl_vae.tensors import as_tensor

__all__ = ["conditions", "contexts", "tensors"]

Records = list[dict[str, Any]]


def contexts(
    given: Mapping[str, Sequence[Any]], standardize: bool
) -> tuple[dict[str, tuple[Tensor, ...]], list[Records]]:
    """The context of each split as tensors in float32, and how each array became one.

    Parameters
    ----------
    given
        Arrays (n, ...) of each split, of numbers, booleans or text.
    standardize
        Whether numbers are standardized, and text and booleans one-hot; else numbers stay as they are.

    Raises
    ------
    ValueError
        Where splits differ in their number, and for what `conditions` refuses.
    """
    counts = {role: len(arrays) for role, arrays in given.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"context expects as many arrays for every split that is given, got {counts}; give context, "
            "context_validation and context_test as you give x"
        )
    if not standardize:
        return {role: tuple(_as_it_is(a) for a in arrays) for role, arrays in given.items()}, []
    made: dict[str, tuple[Tensor, ...]] = dict.fromkeys(given, ())
    records = []
    for i in range(counts["train"]):
        parts = {role: _as_frame(f"context[{i}]", arrays[i]) for role, arrays in given.items()}
        roles = np.repeat(list(parts), [len(part) for part in parts.values()])
        records.append(conditions(pd.concat(parts.values(), ignore_index=True), roles == "train"))
        made = {role: made[role] + tensors(part, [records[-1]]) for role, part in parts.items()}
    return made, records


def _as_it_is(values: Any) -> Tensor:
    tensor = as_tensor("context", values).detach().cpu().float()
    return tensor if tensor.dim() > 1 else tensor[:, None]


def _as_frame(name: str, values: Any) -> pd.DataFrame:
    """An array (n,) or (n, c) as a frame, one column for each of its own."""
    if isinstance(values, pd.DataFrame | pd.Series):
        frame = pd.DataFrame(values)
        return frame.set_axis([f"{name}.{c}" for c in frame.columns], axis=1).reset_index(drop=True)
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim not in (1, 2):
        raise ValueError(
            f"{name} expects an array of shape (n,) or (n, c), got {array.shape}; flatten it, or leave it as it is: "
            "standardize_context=False"
        )
    columns = array.reshape(len(array), -1).T
    return pd.DataFrame({name if array.ndim == 1 else f"{name}[{i}]": c.tolist() for i, c in enumerate(columns)})


def conditions(frame: pd.DataFrame, train: np.ndarray, *, say: Mapping[str, Told] | None = None) -> Records:
    """How each column of a frame becomes context, for JSON.

    Text, booleans and pandas' categories are one-hot over all values in the frame. Numbers and dates are standardized
    by the mean and sd of the training rows; positive ones are divided by their geometric mean, as an exposure is.

    Parameters
    ----------
    frame
        Of all splits.
    train
        Which rows are training data.
    say
        What is told of columns, by name.

    Raises
    ------
    ValueError
        For missing values, which a context cannot have, and for a constant column that is to be standardized.
    """
    return [_condition(frame[name], train, (say or {}).get(name, NOTHING)) for name in frame]


def _condition(values: pd.Series, train: np.ndarray, say: Told) -> dict[str, Any]:
    if values.isna().any():
        raise _incomplete(str(values.name), int(values.isna().sum()))
    column = decided(values, say)
    record: dict[str, Any] = {"column": Columns([column]).plain()[0]}
    if column.categories is not None:
        return record
    x = encoded(values.to_frame(), [column])[0][train, 0]
    if x.min() == x.max():
        raise ValueError(
            f"context {column.name!r} expects training data that vary, got the value {x[0]:g} everywhere; leave it out"
        )
    if column.kind != "positive":
        return record | {"loc": float(x.mean()), "scale": float(x.std())}
    if x.min() <= 0:
        raise ValueError(f"context {column.name!r} expects positive values, got {x.min():g}; give another kind")
    return record | {"loc": 0.0, "scale": float(np.exp(np.log(x).mean()))}


def _incomplete(name: str, number: int) -> ValueError:
    return ValueError(
        f"context {name!r} expects a value for each datum, got {number} missing; fill them, or leave such data out"
    )


def tensors(frame: pd.DataFrame, records: Sequence[Records]) -> tuple[Tensor, ...]:
    """The contexts of a frame, each (n, c) in float32, by the records of their columns.

    Raises
    ------
    ValueError
        For missing columns and values, and for categories that are not known.
    """
    return tuple(torch.cat([_tensor(frame, record) for record in records_of], -1) for records_of in records)


def _tensor(frame: pd.DataFrame, record: Mapping[str, Any]) -> Tensor:
    column = Columns.of([record["column"]])[0]
    if column.name not in frame:
        raise ValueError(
            f"context {column.name!r} expects a value for each datum, got no such column; add it with its values, as a "
            "context cannot be missing"
        )
    values, there = encoded(frame, [column])
    if not there.all():
        raise _incomplete(column.name, int((~there).sum()))
    if column.categories is not None:
        return torch.nn.functional.one_hot(torch.from_numpy(values[:, 0]).long(), len(column.categories)).float()
    return torch.from_numpy((values - record.get("loc", 0.0)) / record.get("scale", 1.0)).float()
