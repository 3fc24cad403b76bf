"""A decoder as a graph of torch's operations, for a page that runs it in the browser."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from ppl_vae.captured import NotCaptured, graph_of, shortened
from ppl_vae.isolation import evaluating
from ppl_vae.vae import VAE

__all__ = ["NotExported", "exported", "operations"]

_COPIES = ("aten.detach", "aten.alias", "aten.lift_fresh_copy", "aten.clone")


class NotExported(Exception):  # noqa: N818, nothing went wrong: the page shows what was decoded before
    """Why a decoder is not run in the browser, in a sentence without its end."""


def operations() -> frozenset[str]:
    """Names of the operations of torch that `graph.js` carries out."""
    script = files("ppl_vae.pages").joinpath("graph.js").read_text(encoding="utf-8")
    return frozenset(re.findall(r'^  "([\w.]+)":', script, re.MULTILINE))


def exported(vae: VAE, z: Tensor, *context: Tensor, most: int) -> dict[str, Any]:
    """z (1, latent_dim) and its context to what stands for p(x | z) in raw units, as nodes of a graph for JSON.

    Weights are in float32, in base64.

    Raises
    ------
    NotExported
        If the decoder cannot be recorded, has more than `most` weights, or does what the page cannot.
    """

    def decoded(z: Tensor, *context: Tensor) -> list[Tensor]:
        fn = vae.likelihood.given(z, *vae.given_to("decoder", context))
        return [vae.raw(vae.likelihood.typical(fn)).reshape(-1)]

    try:
        with evaluating(vae):
            graph: Any = graph_of(decoded, (z, *context))
    except NotCaptured as reason:
        raise NotExported(f"the decoder cannot be recorded: {reason}") from reason
    graph = shortened(graph, lambda node: _name(node) in _COPIES)
    nodes = list(graph.graph.nodes)
    strange = sorted({_name(n) for n in nodes if n.op == "call_function"} - operations())
    if strange:
        raise NotExported(f"the decoder uses {', '.join(strange)}, which the script of this page does not know")
    constants = {n.target: getattr(graph, n.target) for n in nodes if n.op == "get_attr"}
    size = sum(c.numel() for c in constants.values())
    if size > most:
        raise NotExported(f"the decoder has {size:,} weights, and this page holds at most {most:,}")
    place = {node: i for i, node in enumerate(nodes)}
    return {"nodes": [_plain_node(node, place, constants) for node in nodes]}


def _name(node: Any) -> str:
    """The name of an operation without its overload, `aten.add` say."""
    if node.op != "call_function":
        return ""
    name = str(node.target)
    return ".".join(name.split(".")[:2]) if name.startswith("aten.") else getattr(node.target, "__name__", name)


def _plain_node(node: Any, place: Mapping[Any, int], constants: Mapping[str, Tensor]) -> dict[str, Any]:
    if node.op == "placeholder":
        return {"op": "input"}
    if node.op == "get_attr":
        value = constants[node.target].detach().cpu().to(torch.float32).contiguous()
        content = base64.b64encode(value.numpy().astype("<f4").tobytes()).decode()
        return {"op": "constant", "shape": list(value.shape), "value": content}
    if node.op == "output":
        return {"op": "output", "args": [_plain(node.args[0][0], place)]}
    kwargs = {name: _plain(value, place) for name, value in node.kwargs.items()}
    said = {name: value for name, value in kwargs.items() if value is not None}
    return {"op": _name(node), "args": [_plain(a, place) for a in node.args], **({"kwargs": said} if said else {})}


def _plain(value: Any, place: Mapping[Any, int]) -> Any:
    """An argument for JSON: a node is `{"node": number}`, infinity text, a dtype or device nothing."""
    if isinstance(value, torch.fx.Node):
        return {"node": place[value]}
    if isinstance(value, list | tuple):
        return [_plain(one, place) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    return value if isinstance(value, bool | int | float | str) else None
