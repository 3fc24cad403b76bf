"""Codes of new data."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

import ppl_vae
from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.new_data import add_new_data_options, opened_with, parts, write

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    add_new_data_options(parser)
    about = "draws from q a datum, where its mean and sd have no formula"
    parser.option("--num-samples", type=PositiveInt, default=100, help=about)


def _encode(options: Namespace) -> None:
    """Write mean and standard deviation of q(z | x), (n, latent_dim), for each latent site."""
    vae, split = opened_with(options)
    try:
        moments = _exact(vae, split)
    except (NotImplementedError, TypeError):  # a flow's mean has no formula, a Chain has no single distribution
        moments = _drawn(vae, split, options)
        print(f"mean and sd are those of {options.num_samples} draws from q a datum, as it has no formula for them")
    write(options, {name: value.cpu().numpy() for name, value in moments.items()})


def _exact(vae: ppl_vae.VAE, split: ppl_vae.data.Split) -> dict[str, Any]:
    import torch

    site = vae.prior.sites[-1]
    with torch.no_grad():
        q = [vae.encode(part) for part in parts(split, "codes")]
        return {site: torch.cat([d.mean for d in q]), f"{site}_sd": torch.cat([d.stddev for d in q])}


def _drawn(vae: ppl_vae.VAE, split: ppl_vae.data.Split, options: Namespace) -> dict[str, Any]:
    import torch

    from ppl_vae.draws import encoded
    from ppl_vae.isolation import evaluating

    found: dict[str, Any] = {}
    with evaluating(vae, options.seed):
        for _, z in encoded(vae, split, options.num_samples, options.max_rows):
            for name, values in z.items():
                found.setdefault(name, []).append(values.mean(0))
                found.setdefault(f"{name}_sd", []).append(values.std(0, correction=0))
    return {name: torch.cat(found[name]) for name in sorted(found, key=lambda name: name.endswith("_sd"))}


COMMAND = Command(
    name="encode",
    about="codes of new data: mean and sd of q(z | x)",
    parser=_options,
    run=_encode,
    after="ppl-vae diagnose {run}",
)
