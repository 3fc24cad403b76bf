"""Reconstructions of new data."""

from __future__ import annotations

from jsonargparse import Namespace

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.new_data import add_new_data_options, opened_with, parts, write
from ppl_vae.cli.output import tell_rounded

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
    tell_rounded(frame.attrs.get("rounded", {}))
    return write(options, frame)


COMMAND = Command(
    name="reconstruct",
    about="reconstructions of new data, in their units",
    parser=add_new_data_options,
    run=_reconstruct,
    after="ppl-vae diagnose {run}",
)
