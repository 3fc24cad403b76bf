"""The parameters of a VAE in Pyro's parameter store."""

from __future__ import annotations

import pyro
from torch import nn

from ppl_vae.known import are_known

__all__ = ["register"]


def register(vae: nn.Module) -> None:
    """Make the parameters known to Pyro: `pyro.module` would leave a second model silently untrained.

    Raises
    ------
    RuntimeError
        Where Pyro's parameter store holds those of another model, or a parameter is not contiguous in memory: the store
        would hold a copy.
    """
    for name, parameter in vae.named_parameters():
        if parameter.requires_grad and pyro.param(f"vae$$${name}", parameter) is not parameter:
            if not parameter.is_contiguous():
                raise RuntimeError(
                    f"Pyro's parameter store expects parameters that are contiguous in memory, got {name} with strides "
                    f"{parameter.stride()} for a shape of {tuple(parameter.shape)}; for channels_last, say, call "
                    "vae.to(memory_format=torch.contiguous_format)"
                )
            raise RuntimeError(
                "the VAE expects Pyro's parameter store to hold its own parameters, got another model's; train "
                "with ppl_vae.fit, or inside pyro.get_param_store().scope(), or call pyro.clear_param_store()"
            )
        if parameter.requires_grad and are_known():
            return
