"""Decoders that start at the marginals of the training data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ppl_vae.isolation import eval_mode
from ppl_vae.likelihoods import Likelihood
from ppl_vae.precision import in_float64
from ppl_vae.rows import dense
from ppl_vae.split import Split
from ppl_vae.vae.data_spec import DataSpec
from ppl_vae.vae.seen import rows_for_statistics

__all__ = ["start_decoder"]


def start_decoder(likelihood: Likelihood, data: DataSpec, start: str | None) -> None:
    """Initialize a decoder as the argument `start` of `build` says.

    Raises
    ------
    ValueError
        For ``"marginals"`` where that is impossible.
    """
    wanted = start == "marginals" or (start == "auto" and len(data.x_shape) == 1)
    done = wanted and data.train is not None and _at_marginals(likelihood, data.train)
    if start == "marginals" and not done:
        raise ValueError(
            f"build expects start='marginals' with training data, a likelihood that says how to start and a decoder "
            f"whose last layer is linear, got {type(likelihood).__name__} with {type(likelihood.net).__name__} and "
            f"{'no ' if data.train is None else ''}training data; leave it out"
        )


def _at_marginals(likelihood: Likelihood, train: Split) -> bool:
    """Set the bias of a decoder's last layer, and scales beside it, by the marginals of training data.

    The layer's weights are divided by ten: without that, z changes the parameters by as much as some data vary.

    Returns
    -------
    bool
        Whether that was done. It is not for a likelihood without starting values (`start_from`), nor for a decoder
        whose last layer is not linear with a bias for each output.
    """
    last = _last_layer(likelihood)
    if last is None:
        return False
    some = rows_for_statistics(train)
    x, mask = dense(some.x), some.observed
    context = some.context if likelihood.context_shapes else ()  # it may go to other parts
    params = likelihood.start_from(in_float64(x), mask, *map(in_float64, context))
    if params is None:
        return False
    with torch.no_grad():
        last.bias.copy_(params.flatten())
        last.weight /= 10
    return True


@torch.no_grad()
def _last_layer(likelihood: Likelihood) -> nn.Linear | None:
    """The linear layer whose bias shifts the output of the decoder, one number for each; `None` if there is none."""
    size = math.prod(likelihood.param_shape(likelihood.x_shape))
    linear = [m for m in likelihood.net.modules() if isinstance(m, nn.Linear)]
    if not linear or linear[-1].out_features != size or linear[-1].bias is None:
        return None
    bias: Tensor = linear[-1].bias
    given = [bias.new_zeros(1, *shape) for shape in (likelihood.in_shape, *likelihood.context_shapes)]
    with eval_mode(likelihood.net):
        before, drawn = likelihood.net(*given).flatten(), bias.clone()
        bias.add_(1)
        shifted = likelihood.net(*given).flatten() - before
        bias.copy_(drawn)
    return linear[-1] if shifted.allclose(torch.ones_like(shifted), atol=1e-3) else None
