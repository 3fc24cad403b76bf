"""Log importance weights of draws from q, and their terms."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.arguments import Count, Seed
from ppl_vae.calls import verb
from ppl_vae.diagnostics.results import attributes, with_units
from ppl_vae.diagnostics.session import diagnosing
from ppl_vae.draws import draws
from ppl_vae.libraries import xr
from ppl_vae.modelled import Modelled
from ppl_vae.precision import in_float64
from ppl_vae.progress import progress_bar
from ppl_vae.raw_units import log_volume
from ppl_vae.split import Split

__all__ = ["log_weights"]

_NAMES = ("log_weight", "log_p", "log_q", "log_likelihood")


@verb
def log_weights(
    program: Modelled,
    x: Tensor | Split,
    *context: Tensor,
    mask: Tensor | bool = True,
    num_samples: Count = 1000,
    seed: Seed | None = None,
    max_rows: Count = 10_000,
    max_bytes: Count = 2**29,
    progress: bool = True,
) -> xr.Dataset:
    """log p(x, z) - log q(z | x) of draws z ~ q(z | x); equal to log p(x) for every draw where q is exact.

    Their mean estimates the ELBO, the log of the mean weight estimates log p(x); `psis` smooths them and gives k-hat.

    Parameters
    ----------
    program, x, *context, mask, seed, max_rows, progress
        See `check_guide`.
    num_samples
        Draws from q per datum.
    max_bytes
        Largest size of the result.

    Returns
    -------
    xarray.Dataset
        By (draw, obs), in nats and float64, for x in its original units: `log_weight` = `log_p` - `log_q`, with
        `log_p` the joint log p(x, z), `log_q` = log q(z | x), and `log_likelihood` = log p(x | z).

    Raises
    ------
    ValueError
        If the result would exceed `max_bytes`; for no draws or rows; for a point mass or an improper prior, which have
        no weights; for whatever `session.diagnosing` refuses.
    TypeError
        For a program that is no module with `.model` and `.guide`, and for data that are no tensor or `Split`.

    Examples
    --------
    >>> from ppl_vae import build, data
    >>> from ppl_vae.importance import psis
    >>> digits = data.load("digits").binarize("threshold").take(test=3)
    >>> found = log_weights(build(digits, latent_dim=2, seed=0), digits.test, num_samples=200, seed=0)
    >>> dict(found.sizes)
    {'draw': 200, 'obs': 3}
    >>> smoothed, k = psis(torch.as_tensor(found["log_weight"].values))
    >>> bool((k < 0.7).all())
    True
    """
    with diagnosing(program, x, *context, mask=mask, seed=seed) as (split, used):
        each = 8 * len(_NAMES) * num_samples
        if each * len(split) > max_bytes:
            raise ValueError(
                f"log_weights expects a result of at most {max_bytes / 2**20:.0f} MiB, got {len(split)} data of "
                f"{each / 2**20:.2f} MiB each; give fewer data or draws, or raise max_bytes"
            )
        columns = torch.empty(len(_NAMES), num_samples, len(split), dtype=torch.float64)
        volume = log_volume(program, split)
        with progress_bar("log weights", len(split), shown=progress) as bar:
            for rows, drawn in draws(program, split, num_samples, max_rows=max_rows):
                if drawn.singular or drawn.improper or drawn.quantized:
                    raise ValueError(
                        "log_weights expects a prior and a q with densities, got an improper prior (Flat), one code a "
                        "datum (VectorQuantized) or a point mass (Point), which have no weights; use another prior and "
                        "posterior"
                    )
                log_p, log_q = (in_float64(torch.stack(list(by.values()))).sum(0) for by in (drawn.log_p, drawn.log_q))
                log_likelihood = in_float64(drawn.log_likelihood) - volume[rows].to(log_q.device)
                log_joint = log_p + log_likelihood
                columns[..., rows] = torch.stack([log_joint - log_q, log_joint, log_q, log_likelihood]).cpu()
                bar.update(rows.stop - rows.start)
        return with_units(
            {name: (("draw", "obs"), values, "nats") for name, values in zip(_NAMES, columns, strict=True)},
            {"obs": split.index.tolist()},
            cannot_see="modes of the posterior that q never visits: no draw lies there",
            **attributes(program, split, used, num_samples=num_samples),
        )
