"""Data from a frame of pandas, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.arguments import Seed, checked
from ppl_vae.data.arrays import from_arrays
from ppl_vae.data.coding import check_known, check_values, decoded, encoded, in_text, shortest
from ppl_vae.data.columns import Column, Columns
from ppl_vae.data.context import conditions, tensors
from ppl_vae.data.data import Data
from ppl_vae.data.dtypes import plain_dtype
from ppl_vae.data.kinds import NOTHING, SKIP, Kinds, decided, told
from ppl_vae.data.steps import ROLE_OF, ROLES
from ppl_vae.domain import Domain
from ppl_vae.libraries import pd
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.tensors import as_tensor

__all__ = [
    "all_seen",
    "by_role",
    "check_names",
    "from_frame",
    "in_places",
    "labels_of",
    "recorded",
    "roles_of",
    "to_frame",
    "warn_of_large",
]


@checked
def from_frame(
    frame: pd.DataFrame,
    kinds: Kinds | None = None,
    *,
    validation: pd.DataFrame | None = None,
    test: pd.DataFrame | None = None,
    split: str | None = None,
    label: str | None = None,
    context: Sequence[str] = (),
    seed: Seed = 0,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    name: str = "frame",
) -> Data:
    """Data from a frame of numbers, booleans, text, categories and dates; NaN is a missing value.

    Each column of the frame is a column of x, (n, columns). What was decided about it is in `Data.columns`, and
    ``print(data.columns)`` shows it.

    Parameters
    ----------
    frame
        One row a datum. Columns are known by their names as text.
    kinds
        What columns hold, where it is not as below: ``"binary"``, ``"levels"``, ``"unit"``, ``"real"``,
        ``"positive"``, ``"counts"`` or ``"categories"``, a list of levels in their order, or ``"skip"`` to leave one
        out. As a mapping, the path of a YAML file of one, or of a types file of HI-VAE (type, dim, nclass), whose
        ``pos`` columns are shifted by 1 where they have zeros; or `Data.columns` of other data, to read these alike,
        without columns that those do not have.

        By default text, booleans and pandas' categories are categories, those that pandas orders levels, and two
        of them binary; whole numbers are counts from 0 on, else real, and binary where all are 0 or 1; floats with
        gaps that are all whole are whole numbers, as pandas reads these so; other floats are real; dates are days
        from the first one, real.
    validation, test
        Further frames of the same columns; one that is not given is drawn at random from `frame`.
    split
        The column that says train, validation or test, in place of these.
    label
        The column of the labels.
    context
        Columns that are given to the model: text, booleans and categories one-hot, numbers standardized by the
        training data, positive ones (`kinds`) divided by their geometric mean. Each is one context, (n, c).
    seed, fractions, name
        As for `from_arrays`.

    Returns
    -------
    Data
        A category is its code 0, 1, ..., over the categories of all frames. A row without any observed value is kept:
        log p of nothing is 0.

    Raises
    ------
    TypeError
        For columns of other values.
    ValueError
        For names that the frame does not have, further frames of other columns, a column without an observed value in
        the training data, text of too many different values to be categories, values that a kind does not allow, and
        all that `from_arrays` refuses.

    Warns
    -----
    UserWarning
        Where whole numbers become others in float32, which has all of them up to 2^24.

    Examples
    --------
    >>> people = pd.DataFrame({"age": [31, 44, None, 27] * 10, "job": ["cook", "clerk", "cook", None] * 10})
    >>> people["job"] = people["job"].astype("string")
    >>> data = from_frame(people)
    >>> data
    Data('frame', 32 + 4 + 4 data, x_shape=(2,), counts and binary, 25.0 % missing)
    >>> print(data.columns)
    column kind   levels dtype   missing likelihood       in x
    age    counts        float64 25.0%   NegativeBinomial
    job    binary 2       string 25.0%   Bernoulli        codes of clerk, cook
    """
    frames = {"train": frame, "validation": validation, "test": test}
    parts = {role: in_text(f, "the frame") for role, f in frames.items() if f is not None}
    if (said := None if split is None else _said(parts, split)) is not None:
        rest = parts["train"].drop(columns=split)
        parts = {role: rest[said == role] for role in ROLES if (said == role).any()}
    together = pd.concat(parts.values(), ignore_index=True)
    roles = np.repeat(list(parts), [len(f) for f in parts.values()])
    say = told(kinds, list(together.columns))
    check_names(list(together.columns), label=[] if label is None else [label], context=context)
    apart = [*context, *([] if label is None else [label])]
    skipped = [c for c in together.columns if say.get(c, NOTHING).kind == SKIP and c not in apart]
    kept = [column for column in together.columns if column not in (*apart, *skipped)]
    columns = Columns(decided(together[column], say.get(column, NOTHING)) for column in kept)
    _check_alike(parts, [*apart, *kept])
    records = [conditions(together[[one]], roles == "train", say=say) for one in context]
    given = _given(together, roles, columns, label, tensors(together, records))
    made = from_arrays(
        **given, domain=columns.domain, standardize_context=False, seed=seed, fractions=fractions, name=name
    )
    placed = made if said is None else in_places(made, said.to_numpy())
    return recorded(placed, columns, records, label, [*skipped, *([split] if split else [])])


def in_places(made: Data, roles: np.ndarray) -> Data:
    """Data whose indices are positions among all rows, where a column says the role of each."""
    splits: dict[str, Any] = {}
    for role, one in made.splits.items():
        rows = torch.from_numpy(np.flatnonzero(roles == (role if (roles == role).any() else "train")))
        splits[role] = replace(one, index=rows[one.index])
    return replace(made, **splits)


def _check_alike(parts: Mapping[str, pd.DataFrame], needed: Sequence[str]) -> None:
    """Refuse further frames that lack a column of the training data that is not skipped, or have others."""
    known = list(parts["train"])
    for role, frame in list(parts.items())[1:]:
        check_known(f"the {role} frame", [name for name in frame if name in needed], known)
        if absent := [name for name in needed if name not in frame]:
            raise ValueError(
                f"the {role} frame expects the columns of the training data, got none for {', '.join(absent)}; add "
                "them, or leave them out everywhere"
            )


def recorded(made: Data, columns: Columns, records: list[Any], label: str | None, apart: list[str]) -> Data:
    """Data that say what their columns hold."""
    said: dict[str, Any] = {"columns": columns.plain()}
    said |= {"conditions": records} if records else {}
    said |= {"label": label, "classes": list(made.classes or ()), "apart": apart}
    return replace(made, provenance={**made.provenance, **{k: v for k, v in said.items() if v}})


def _given(
    frame: pd.DataFrame, roles: np.ndarray, columns: Columns, label: str | None, context: Sequence[Tensor]
) -> dict[str, Any]:
    """What `from_arrays` is given."""
    values, there = encoded(frame, columns)
    all_seen(columns, there[roles == "train"])
    warn_of_large(columns, values)
    check_values(columns, [values])
    given = by_role(roles, x=np.where(there, values, 0.0), mask=there)
    for one in context:
        given |= {key: (*given.get(key, ()), value) for key, value in by_role(roles, context=one).items()}
    return given | ({} if label is None else by_role(roles, y=labels_of(frame[label])))


def _said(parts: Mapping[str, pd.DataFrame], split: str) -> pd.Series:
    """The role of each row, by a column that says so."""
    if split not in parts["train"]:
        came = f"the columns {', '.join(parts['train'].columns)}"
        raise ValueError(f"split expects one frame with a column {split!r}, got {came}; give one or the other")
    return roles_of(parts["train"][split], list(parts))


def roles_of(values: pd.Series, given: Sequence[str]) -> pd.Series:
    """The role of each row, by the column that says it, of the only frame that is given."""
    if len(given) > 1:
        raise ValueError(
            f"split expects one frame with a column {values.name!r}, got frames for {', '.join(given)}; give one or "
            "the other"
        )
    said = values.map(lambda v: ROLE_OF.get(str(v).lower()))
    if said.isna().any() or not (said == "train").any():
        came = ", ".join(map(str, values.unique()[:5]))
        raise ValueError(
            f"split expects a column that says train, validation or test, got {came} in {values.name!r}; replace them"
        )
    return said


def check_names(known: Sequence[str], **named: Sequence[str]) -> None:
    """Refuse names of columns that are not there."""
    for what, names in named.items():
        if absent := [name for name in names if name not in known]:
            raise ValueError(
                f"{what} expects columns of the frame, {', '.join(known)}, got {', '.join(absent)}; correct it"
            )


def all_seen(columns: Sequence[Column], there: np.ndarray) -> None:
    """Refuse columns without an observed value, and no column at all."""
    if not len(columns):
        raise ValueError("a frame expects one column or more beside those that are skipped, got none; skip fewer")
    if empty := [c.name for c, any_seen in zip(columns, np.asarray(there.any(0)), strict=True) if not any_seen]:
        raise ValueError(
            f"column {empty[0]!r} expects at least one observed value in the training data, got none; leave it out: "
            f"kinds={{{empty[0]!r}: 'skip'}}"
        )


def warn_of_large(columns: Sequence[Column], values: np.ndarray) -> None:
    """Warn of whole numbers and of time stamps that float32 does not hold."""
    for column, x in zip(columns, values.T, strict=True):
        if column.origin is not None and (late := (seconds := 86400 * np.abs(x.astype(np.float32) - x)) > 0.5).any():
            warnings.warn(
                f"column {column.name!r} is rounded to float32, in which {int(late.sum())} time stamps move, by up to "
                f"{float(np.nanmax(seconds)):.0f} s; take days (dt.normalize()), or a shorter time",
                stacklevel=5,
            )
        whole = column.kind == "counts" or pd.api.types.is_integer_dtype(plain_dtype(column.dtype))
        if whole and (other := np.abs(x) > 2**24).any() and (other := (x.astype(np.float32) != x) & ~np.isnan(x)).any():
            first = x[other][0]
            warnings.warn(
                f"column {column.name!r} is rounded to float32, in which {int(other.sum())} whole numbers become "
                f"others, {first:.0f} {float(np.float32(first)):.0f} for one; leave out what only names a row, "
                f"kinds={{{column.name!r}: 'skip'}}, or divide by a larger unit",
                stacklevel=5,
            )


def labels_of(values: pd.Series) -> np.ndarray:
    """Labels of a column, numbers or text, none of them missing."""
    if values.isna().any():
        raise ValueError(
            f"labels expect a value for each datum, got {int(values.isna().sum())} missing in {values.name!r}; leave "
            "such rows out"
        )
    return values.astype(object).map(lambda v: v if isinstance(v, int | float) else str(v)).to_numpy()


def by_role(roles: np.ndarray, **values: Any) -> dict[str, Any]:
    """Arguments of `from_arrays`, from arrays of all rows."""
    suffixes = {"train": "", "validation": "_validation", "test": "_test"}
    return {
        f"{k}{suffixes[r]}": v[torch.from_numpy(roles == r)] if torch.is_tensor(v) else v[roles == r]
        for k, v in values.items()
        for r in dict.fromkeys(roles.tolist())
    }


@checked
def to_frame(x: Tensor | np.ndarray | Split, data: Data | Split, *, index: Any = None) -> pd.DataFrame:
    """Samples, reconstructions or imputations as a frame, of the columns and dtypes that the data came in.

    Parameters
    ----------
    x
        As the model has it, (n, columns), with NaN where nothing is known; or a split, whose missing elements are
        missing in the frame.
    data
        Data of `from_frame`, or a split of them: their columns and domain.
    index
        Of the frame; by default 0, 1, ...

    Returns
    -------
    DataFrame
        Codes are categories again, days dates, and times whole seconds. A number is the decimal of fewest digits that
        the precision of x does not tell from it, so that 0.1 is 0.1 again. Where whole numbers, days, seconds or codes
        were expected and x was none, it is rounded to the nearest; ``frame.attrs["rounded"]`` says in which columns.

    Raises
    ------
    ValueError
        For data that did not come from a frame, and for x or an index of another shape.

    Examples
    --------
    >>> data = from_frame(pd.DataFrame({"rooms": [2, 3, 5] * 10, "heated": [True, False, True] * 10}))
    >>> made = to_frame(torch.tensor([[3.2, 1.0], [2.0, 0.0]]), data)
    >>> made
       rooms  heated
    0      3    True
    1      2   False
    >>> made.attrs["rounded"]
    {'rooms': 'rounded to whole numbers'}
    """
    plain = data.provenance.get("columns")
    if plain is None:
        raise ValueError("to_frame expects data of from_frame, got others without columns; make a frame of x yourself")
    columns = Columns.of(plain)
    values = _with_gaps(x) if isinstance(x, Split) else as_tensor("to_frame: x", x)
    if values.shape[1:] != (len(columns),):
        raise ValueError(
            f"to_frame expects x of shape (n, {len(columns)}), got {tuple(values.shape)}; give one column for each of "
            f"{', '.join(columns.names[:5])}{', ...' if len(columns) > 5 else ''}"
        )
    if index is not None and len(index) != len(values):
        raise ValueError(
            f"to_frame expects an index of {len(values)} rows, got {len(index)}; give a name for each row of x"
        )
    frame, changed = decoded(_raw(values.detach().cpu(), data, columns), columns, index)
    if changed:
        frame.attrs["rounded"] = changed
    return frame


def _raw(x: Tensor, data: Data | Split, columns: Columns) -> np.ndarray:
    """Values in raw units, without the noise of the floating type of x and of the data."""
    stored = (data if isinstance(data, Split) else data.train).x.dtype
    precision = max(torch.finfo(dtype).eps if dtype.is_floating_point else 0.0 for dtype in (x.dtype, stored))
    domain = data.domain or Domain("real")
    raw, plain = domain.raw(x.double()).numpy(), x.double().numpy()
    each = domain.columns(x.shape[1])
    shift, as_read = np.array([one.shift for one in each]), [(one.shift, one.span) == (0.0, 1.0) for one in each]
    # almost half a step of precision for each number that was rounded on the way to x = (raw - shift) / span
    read, by, moved = (0.49 * precision * np.exp2(np.floor(_log2(v))) for v in (raw, shift, raw - shift))
    tolerance = np.where(as_read, read, read + by + 3 * moved)
    raw = np.where(as_read, plain, raw)  # -0.0 + 0.0 is 0.0
    return shortest(raw, np.where([one.origin is None for one in columns], tolerance, 0.0))  # times are no decimals


def _log2(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log2(np.abs(values))


def _with_gaps(split: Split) -> Tensor:
    fixed = split.fixed()
    return dense(fixed.x) if fixed.mask is None else dense(fixed.x).masked_fill(~dense(fixed.mask), torch.nan)
