"""Matrix products by oneDNN, in the place of MKL, in compiled graphs on processors where MKL's take longer."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["by_onednn", "is_faster"]

LEAST = 2**20
"""Multiplications of a product from which it is worth the call, which takes 10 µs longer."""

_ATEN = torch.ops.aten
_LIBRARY = torch.library.Library("ppl_vae", "DEF")
_LIBRARY.define("product(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return found


def _shape_of(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight))


_LIBRARY.impl("product", _product, "CPU")
torch.library.register_fake("ppl_vae::product", _shape_of, lib=_LIBRARY)


@cache
def is_faster() -> bool:
    """Whether oneDNN's products take less time than MKL's: on AMD's processors with AVX-512, from family 26 (Zen 5) on.

    There they were measured to take half the time; on family 25 (Zen 4) as long. It is decided by the processor and not
    by a measurement, so that a training has the same rounding whenever it runs.
    """
    info = Path("/proc/cpuinfo")
    told = info.read_text(encoding="utf-8") if info.is_file() else ""
    family = re.search(r"cpu family\s*: (\d+)", told)
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in told
        and family is not None
        and int(family[1]) >= 26
    )


def by_onednn(graph: Any) -> None:
    """Let oneDNN compute a graph's larger products of two matrices in float32 on the CPU: a b, and bias + a b."""
    for node in list(graph.graph.nodes):
        if node.target not in (_ATEN.mm.default, _ATEN.addmm.default) or node.kwargs:
            continue
        *bias, a, b = node.args
        shapes = [_value(graph, each) for each in (a, b, *bias)]
        if not all(map(_in_float32_on_cpu, shapes)) or len(shapes[0]) * shapes[1].numel() < LEAST:
            continue
        if bias and shapes[2].dim() != 1:
            continue
        with graph.graph.inserting_before(node):
            weight = b.args[0] if b.target is _ATEN.t.default else graph.graph.call_function(_ATEN.t.default, (b,))
            if a.target is _ATEN.t.default:  # the copy that oneDNN's call would make of it is part of a kernel so
                a = graph.graph.call_function(_ATEN.clone.default, (a,), {"memory_format": torch.contiguous_format})
            args = (a, weight, bias[0] if bias else None)
            product = graph.graph.call_function(torch.ops.ppl_vae.product.default, args)
        product.meta |= node.meta
        node.replace_all_uses_with(product)
        graph.graph.erase_node(node)
    graph.recompile()


def _value(graph: Any, node: Any) -> Any:
    """A tensor of the shape, dtype and device of what a node gives; a constant itself."""
    return getattr(graph, node.target) if node.op == "get_attr" else node.meta.get("val")


def _in_float32_on_cpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.device.type == "cpu"
