"""Missing values of new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.new_data import add_new_data_options, opened_with, outputs, read_like, write
from ppl_vae.cli.output import tell_rounded
from ppl_vae.cli.stored_run import add_method
from ppl_vae.libraries import pd

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_new_data_options(parser)
    add_method(parser)
    parser.option("--num-samples", type=PositiveInt, default=1000, help="draws from q a datum")
    about = "besides the means, so many imputations drawn at random: of a table to OUT_1, OUT_2, ..., of arrays in OUT"
    parser.option("--num-draws", type=NonNegativeInt, default=0, help=about)


def _impute(options: Namespace) -> None:
    """Write the data with their missing values replaced by E[x_missing | x_observed], and draws of them.

    A table that is too large to be read whole is imputed a row group at a time.
    """
    from ppl_vae.cli.large_tables import filled, impute_by_group
    from ppl_vae.data.coding import in_text
    from ppl_vae.data.parquet import Table
    from ppl_vae.evaluation.wording import plural

    vae, split = opened_with(options)
    source = Path(options.file).expanduser()
    read = read_like(source, split.provenance) if "columns" in split.provenance else None
    if isinstance(read, Table):
        return impute_by_group(options, vae, split, read)
    num_draws = max(options.num_draws, 1)
    found = ppl_vae.impute(
        vae,
        split,
        num_draws=num_draws,
        method=options.method,
        num_samples=options.num_samples,
        seed=options.seed,
        max_rows=options.max_rows,
        max_bytes=2**62,
    )
    how = f"the mean and by {plural(num_draws, 'draw')}" if options.num_draws else "the mean"
    print(found.told(how, "in the units of the file"))
    if read is None:
        raw = found.raw
        imputed = {"x": raw.mean} | ({"draws": raw.draws} if options.num_draws else {})
        more = {"pareto_k": found.pareto_k.numpy(), "ess": found.ess.numpy()}
        return write(options, {**_with_observed(imputed, found.observed, source, split), **more})
    before = in_text(pd.DataFrame(read))
    for draw, out in outputs(options).items():
        made, rounded = filled(before, found, draw)
        tell_rounded(rounded)
        write(Namespace(file=options.file, out=str(out)), made)
    return None


def _with_observed(imputed: dict[str, Any], observed: Any, source: Path, split: ppl_vae.data.Split) -> dict[str, Any]:
    """Imputed tensors as arrays, with what was observed as the file has it, where its values are those of x."""
    import numpy as np

    arrays = {name: values.numpy() for name, values in imputed.items()}
    steps = {step["transform"] for step in split.provenance.get("transforms", [])}
    if source.is_dir() or steps & {"binarize", "dequantize"}:
        return arrays
    read = read_like(source, split.provenance, split.x.shape[-1])
    x = read.get("x") if isinstance(read, dict) else None
    if not isinstance(x, np.ndarray) or x.shape != tuple(split.x.shape):  # sparse, or in another order
        return arrays
    return {name: np.where(observed.numpy(), x, values) for name, values in arrays.items()}


COMMAND = Command(
    name="impute",
    about="missing values of new data from p(x_missing | x_observed)",
    parser=_options,
    run=_impute,
    after="ppl-vae diagnose {run}",
)
