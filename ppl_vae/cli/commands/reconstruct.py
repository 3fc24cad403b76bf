"""Reconstructions of new data."""

from __future__ import annotations

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.new_data import add_new_data_options, opened_with, parts, write

__all__ = ["COMMAND"]


def _reconstruct(options: Namespace) -> None:
    """Write E[x' | z] for one draw z ~ q(z | x) a datum, in raw units; of a table with its columns and categories."""
    import torch

    from ppl_vae.cli.figures import raw

    vae, split = opened_with(options)
    x = torch.cat(
        [vae.reconstruct(part, seed=options.seed + i).cpu() for i, part in enumerate(parts(split, "reconstructions"))]
    )
    if "columns" not in split.provenance:
        return write(options, {"x": raw(vae, x).numpy()})
    frame = ppl_vae.data.to_frame(x, split)
    if rounded := frame.attrs.get("rounded"):
        print("; ".join(f"column {name} is {said}" for name, said in rounded.items()))
    return write(options, frame)


COMMAND = Command(
    name="reconstruct",
    about="reconstructions of new data, in their units",
    parser=add_new_data_options,
    run=_reconstruct,
    after="ppl-vae diagnose {run}",
)
