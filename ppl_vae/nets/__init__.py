"""Networks: maps between tensors with any leading dimensions and any context.

Each is built by `net(in_shape, out_shape)` and called as `net(first, *context)`, where `first` is
(*leading, *in_shape) and every context is (*leading, *its_shape); leading dimensions broadcast.
"""

from ppl_vae.nets.dense import MLP, GatedMLP
from ppl_vae.nets.gated import GatedConvDecoder, GatedConvEncoder
from ppl_vae.nets.images import ConvDecoder, ConvEncoder
from ppl_vae.nets.network import Network
from ppl_vae.nets.residual import ResNetDecoder, ResNetEncoder
from ppl_vae.nets.sequences import Conv1dDecoder, Conv1dEncoder, GRUDecoder, GRUEncoder
from ppl_vae.nets.sets import DeepSet

__all__ = [
    "MLP",
    "Conv1dDecoder",
    "Conv1dEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "DeepSet",
    "GRUDecoder",
    "GRUEncoder",
    "GatedConvDecoder",
    "GatedConvEncoder",
    "GatedMLP",
    "Network",
    "ResNetDecoder",
    "ResNetEncoder",
]
