"""How well each column of a table is predicted from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.evaluation.evaluate import evaluate
from ppl_vae.evaluation.result import Evaluation
from ppl_vae.libraries import pd
from ppl_vae.modelled import Modelled
from ppl_vae.split import Split
from ppl_vae.vae.vae import VAE

__all__ = ["column_names", "per_column"]


@verb
def per_column(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    columns: Sequence[str | int] | None = None,
    method: str = "importance",
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    compile: Literal["auto"] | bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """NLL of each column given the other columns of its row: -log p(x_j | x_-j) = log p(x_-j) - log p(x).

    Both terms are log densities of the observed elements, as `evaluate` estimates them; in the first, column j is
    missing. The result is a proper score of each column in its raw units; under a model of independent
    columns it is the column's NLL. The scores do not add up to -log p(x): their sum is minus a log pseudo-likelihood
    (Besag 1975). The cost is one evaluation for each column, and one more.

    Parameters
    ----------
    program, x, *context, mask, method, num_samples, seed, max_rows, compile, progress
        See `evaluate`. x is (n, ..., d), its columns the last dimension.
    columns
        Names or positions of those to score; all if `None`.

    Returns
    -------
    DataFrame
        Indexed by `column`: `observed`, the number of rows in which it was observed; the mean `nll` over these with its
        standard error `nll_se`; `nll_mcse`, the part of the error that more samples reduce, all in nats per datum;
        `unreliable`, the share of these rows in which the k-hat of a term is too high, or by ``"adaptive"`` a term is
        not believed; and its `base_measure`.
        ``.attrs["units"]`` are those of the columns.

    Raises
    ------
    ValueError
        For data that are no tables; for unknown columns; for a likelihood given the total of a row, which changes with
        the column left out; and for all that `evaluate` refuses.

    References
    ----------
    Besag 1975, doi:10.2307/2987782.
    """
    split = Split.of(x, *context, mask=mask)
    names = column_names(program, split)
    options: Any = {"method": method, "num_samples": num_samples, "max_rows": max_rows, "compile": compile}
    options |= {"progress": progress}
    whole = evaluate(program, split, seed=seed, **options)
    _refuse_given(whole.base_measure)
    split = split.fixed(whole.seed)
    rows = {}
    for j in _positions(columns, names):
        hidden = split.observed.clone()
        hidden[..., j] = False
        without = evaluate(program, replace(split, mask=hidden), seed=whole.seed, **options)
        seen = split.observed[..., j].reshape(len(split), -1).any(1).cpu().numpy()
        nll = (without.per_datum["log_px"] - whole.per_datum["log_px"])[seen]
        errors = np.hypot(without.per_datum["log_px_mcse"], whole.per_datum["log_px_mcse"])[seen]
        off = [_unreliable(found)[seen] for found in (without, whole)]
        rows[names[j]] = {
            "observed": len(nll),
            "nll": nll.mean(),
            "nll_se": nll.std(ddof=1) / np.sqrt(len(nll)),
            "nll_mcse": np.sqrt((errors**2).mean() / len(nll)) if len(nll) else np.nan,
            "unreliable": np.mean(off[0] | off[1]) if len(nll) else np.nan,
            "base_measure": _measure(split, j, whole.base_measure),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("column")
    table.attrs["units"] = dict.fromkeys(("nll", "nll_se", "nll_mcse"), "nats per datum") | {"unreliable": "share"}
    return table


def _unreliable(found: Evaluation) -> np.ndarray:
    """Of which data log p(x) is not believed."""
    high = found.per_datum["pareto_k"] > found.good_k
    return np.asarray(~found.per_datum["believed"].astype(bool) if "believed" in found.per_datum else high)


def column_names(program: Modelled, split: Split) -> tuple[str, ...]:
    """Names of the last dimension of x: those of the likelihood or of the frame, if any, else ``"0"``, ``"1"``, ...

    Raises
    ------
    ValueError
        For x of shape (n,).
    """
    if split.x.dim() < 2:
        raise ValueError(f"columns are those of x of shape (n, d), got {tuple(split.x.shape)}; give x[:, None]")
    framed = [column["name"] for column in split.provenance.get("columns", [])]
    names = framed if len(framed) == split.x.shape[-1] else map(str, range(split.x.shape[-1]))
    own = program.likelihood.names if isinstance(program, VAE) else ()
    return own or tuple(names)


def _refuse_given(base_measure: str) -> None:
    if " given " in base_measure:
        raise ValueError(
            f"per_column expects log p(x) that is given nothing of x, got a {base_measure}, which changes with the "
            "column left out; give the model no exposure, or one as a context"
        )


def _measure(split: Split, column: int, of_all: str) -> str:
    """Whether the score of a column is the log of a mass or of a density."""
    if split.domain is None:
        return of_all
    return "mass" if split.domain.columns(split.x.shape[-1])[column].discrete else "density"


def _positions(columns: Sequence[str | int] | None, names: tuple[str, ...]) -> list[int]:
    if columns is None:
        return list(range(len(names)))
    unknown = [c for c in columns if c not in names and c not in range(len(names))]
    if unknown or not len(columns):
        raise ValueError(
            f"per_column expects columns among {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}, or their "
            f"positions, got {unknown or 'none'}; correct them, or leave them out to score all"
        )
    return [names.index(c) if isinstance(c, str) else c for c in columns]
