"""An encoder or a decoder as a graph in a file, which torch or ONNX Runtime runs without this package."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pyro
import torch
from torch import Tensor, nn

from ppl_vae.assumed import assuming
from ppl_vae.conditional import OneDistribution
from ppl_vae.domain import Domain
from ppl_vae.files import written
from ppl_vae.isolation import isolated
from ppl_vae.libraries import needing
from ppl_vae.vae.seen import encoder_input

__all__ = ["Format", "Half", "exported", "format_of"]

Half = Literal["encoder", "decoder"]
Format = Literal["pt2", "onnx"]

_Written = tuple[bytes, Callable[..., dict[str, Tensor]]]
"""What a file holds, and what computes its results."""

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Of what a file computes, relative to the largest number: rounding adds up to 2e-5 where it sums over 256 levels."""


def format_of(path: Path, format: Format | None) -> Format:
    """The format to write a file in: by default the one that its name ends in, ``"pt2"`` where it ends in none.

    >>> format_of(Path("encoder.onnx"), None), format_of(Path("encoder"), None)
    ('onnx', 'pt2')

    Raises
    ------
    ValueError
        For a name that ends in another format.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if format is None:
        return "onnx" if suffix == "onnx" else "pt2"
    if suffix in _FORMATS and suffix != format:
        raise ValueError(
            f"export expects a file whose name ends as its format, got {path.name!r} for {format!r}; name it "
            f"{path.with_suffix('.' + format).name!r}, or leave out the format"
        )
    return format


def exported(vae: Any, path: Path, part: Half, format: Format | None) -> Path:
    """Write the encoder or the decoder of a VAE to a file, and check that it computes the same.

    The file takes batches of any size in the precision of the parameters, float32 as a rule, and gives two results by
    name, ``"mean"`` and ``"scale"``, a standard deviation:

    - of the encoder, of q(z | x, context) for raw x (n, *x_shape); a NaN is a missing value;
    - of the decoder, of p(x | z, context) for z (n, latent_dim), in raw units. Of categories the most probable one is
      the mean, and the scale is NaN. There is no scale where all are categories, or where it has no formula.

    Raw values are those of `VAE.raw`: standardized data in the units of the file they came from, binarized ones as 0
    and 1. Contexts, each (n, ...), follow x or z. Networks are in eval mode.

    Parameters
    ----------
    vae
        The VAE.
    path
        File to write; its folder must be there.
    part
        ``"encoder"`` or ``"decoder"``.
    format
        ``"pt2"``, for `torch.export.load(path).module()`; or ``"onnx"``, for ONNX Runtime, whose inputs are named x or
        z, and context_0, context_1, ...; see `format_of`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        For ONNX without its libraries: `pip install 'ppl_vae[export]'`.
    ValueError
        For a file name of another format, for a posterior or likelihood whose mean has no formula (a flow), for one of
        several levels, for operations that the format does not have, and where the file does not compute the same.
    """
    format = format_of(path, format)
    if format == "onnx":
        _onnx_libraries()
    name = "x" if part == "encoder" else "z"
    with isolated(vae, 0), pyro.validation_enabled(False), torch.no_grad(), assuming():
        made = _Encoder(vae) if part == "encoder" else _Decoder(vae)
        examples = [_example(vae, part, n) for n in (3, 1, 5)]
        expected = [_results(made, example, part) for example in examples]
        program = _program(made, examples[0], part)
        with _refusing(_WRITERS[format], part):
            content, run = _FORMATS[format](program, [name, *_contexts(vae)], list(expected[0]))
        for example, values in zip(examples, expected, strict=True):
            with _refusing(format, part):
                found = run(example)
            _check(found, values, part)
    with written(path) as temporary:
        temporary.write_bytes(content)
    return path


class _Half(nn.Module):
    """What both halves have: the domain, and whether they are given the context."""

    def __init__(self, vae: Any, part: Half) -> None:
        super().__init__()
        self.domain = Domain(**vae.recipe["domain"]) if vae.recipe else Domain("real")
        self.given_context = part in vae.context_to

    def _given(self, context: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return context if self.given_context else ()


class _Encoder(_Half):
    """From raw x to the mean and the standard deviation of q."""

    def __init__(self, vae: Any) -> None:
        super().__init__(vae, "encoder")
        if not isinstance(vae.posterior, OneDistribution):
            raise ValueError(
                f"export expects a posterior with one distribution to give, got {type(vae.posterior).__name__}; export "
                "the decoder, or give the posterior a method given(x)"
            )
        self.posterior, self.mask_input = _copied(vae.posterior), vae.mask_input
        self.likelihood = _copied(vae.likelihood, without="net")  # standardizes what the encoder is given

    def forward(self, x: Tensor, *context: Tensor) -> dict[str, Tensor]:
        observed = ~x.isnan()
        scaled = self.domain.scaled(torch.where(observed, x, torch.zeros_like(x)))
        seen = encoder_input(self.likelihood, scaled, observed, self.mask_input)
        q = self.posterior.given(seen, *self._given(context))
        return {"mean": q.mean, "scale": q.stddev}


class _Decoder(_Half):
    """From z to the mean and the standard deviation of p(x | z), in raw units."""

    categories: Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__(vae, "decoder")
        self.likelihood = _copied(vae.likelihood)
        each = self.domain.columns(vae.likelihood.x_shape[-1] if vae.likelihood.x_shape else 1)
        self.register_buffer("categories", torch.tensor([one.kind == "categories" for one in each]))
        self.has_scale = self.domain.kind != "categories"

    def forward(self, z: Tensor, *context: Tensor) -> dict[str, Tensor]:
        fn = self.likelihood.given(z, *self._given(context))
        found = {"mean": self.domain.raw(self.likelihood.typical(fn))}
        try:
            scale = fn.stddev if self.has_scale else None
        except (AttributeError, NotImplementedError):
            scale = None
        if scale is None:
            return found
        raw = self.domain.raw(scale) - self.domain.raw(torch.zeros_like(scale))
        return {**found, "scale": torch.where(self.categories, math.nan, raw)}


def _copied(module: Any, without: str = "") -> Any:
    """A module on the CPU in eval mode, without a network that it does not use."""
    made = copy.copy(module)
    if without in made._modules:
        made._modules = {**made._modules, without: nn.Identity()}
    return copy.deepcopy(made).cpu().eval().requires_grad_(False)


def _contexts(vae: Any) -> list[str]:
    return [f"context_{i}" for i in range(len(_context_shapes(vae)))]


def _context_shapes(vae: Any) -> list[tuple[int, ...]]:
    return [tuple(shape) for shape in (vae.recipe["context"] if vae.recipe else vae.likelihood.context_shapes)]


def _example(vae: Any, part: Half, n: int) -> tuple[Tensor, ...]:
    """n codes, or as many draws of x in raw units, and their contexts."""
    like = next(vae.parameters())
    z = torch.randn(n, *vae.likelihood.in_shape, dtype=like.dtype)
    context = tuple(torch.rand(n, *shape, dtype=like.dtype) for shape in _context_shapes(vae))
    if part == "decoder":
        return z, *context
    likelihood = _copied(vae.likelihood)
    x = likelihood.given(z, *(context if "decoder" in vae.context_to else ())).sample()
    return vae.raw(x).to(like.dtype), *context


def _results(made: nn.Module, example: tuple[Tensor, ...], part: Half) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = made(*example)
        return found
    except (AttributeError, NotImplementedError, TypeError) as error:
        why = f"{type(error).__name__}: {error}".partition(";")[0]
        raise ValueError(
            f"export expects the mean and the scale of the {part}'s distribution to have a formula, got one without "
            f"({why}); draw from it in Python, or build with a posterior that has one: "
            "DiagonalNormal, say"
        ) from error


def _program(made: nn.Module, example: tuple[Tensor, ...], part: Half) -> Any:
    """The half as a graph with a batch dimension of any size."""
    batch = {0: torch.export.Dim.AUTO}
    shapes = (batch, *([tuple(batch for _ in example[1:])] if example[1:] else []))
    with _refusing("torch.export", part):
        program = torch.export.export(made, example, dynamic_shapes=shapes, strict=False)  # the default of newer torch
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _as_pt2(program: Any, names: list[str], results: list[str]) -> _Written:
    buffer = BytesIO()
    torch.export.save(program, buffer)
    module = torch.export.load(BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), lambda given: module(*given)


def _as_onnx(program: Any, names: list[str], results: list[str]) -> _Written:
    import onnxruntime

    made_of = {"input_names": names, "output_names": results, "dynamo": True, "verbose": False}
    table = {torch.ops.aten.log_sigmoid.default: _log_sigmoid}
    found = torch.onnx.export(program, custom_translation_table=table, **made_of)  # type: ignore[arg-type]
    for node in found.model.graph:  # type: ignore[union-attr]
        node.metadata_props.clear()  # paths of this machine
    content: bytes = found.model_proto.SerializeToString()  # type: ignore[union-attr]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(given: Sequence[Tensor]) -> dict[str, Tensor]:
        known = {one.name for one in session.get_inputs()}
        feed = {name: value.numpy() for name, value in zip(names, given, strict=True) if name in known}
        return dict(zip(results, map(torch.as_tensor, session.run(results, feed)), strict=True))

    return content, run


def _log_sigmoid(self: Any) -> Any:  # named as torch's own argument: torch 2.6 looks by name whether it fits
    """log sigmoid(x) = -softplus(-x): the exporter's log(sigmoid(x)) loses the digits of small probabilities."""
    from onnxscript import opset18 as op

    return op.Neg(op.Softplus(op.Neg(self)))


_FORMATS: dict[str, Callable[..., _Written]] = {"pt2": _as_pt2, "onnx": _as_onnx}
_WRITERS = {"pt2": "torch.export", "onnx": "ONNX"}


def _onnx_libraries() -> None:
    with needing("export to ONNX", "onnx, onnxscript and onnxruntime", "export"):
        import_module("onnx")
        import_module("onnxscript")
        import_module("onnxruntime")


@contextmanager
def _refusing(format: str, part: Half) -> Iterator[None]:
    """A scope in which what a format cannot hold becomes a sentence, without the warnings of torch's exporters."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever an exporter raises
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        said = str(first).strip().partition("\n")[0][:300]
        raise ValueError(
            f"{format} expects operations it has in the {part}, and no choices by value, got others "
            f"({type(first).__name__}: {said}); try the other format, or another network or family"
        ) from error


def _check(found: dict[str, Tensor], expected: dict[str, Tensor], part: Half) -> None:
    for name, value in expected.items():
        off = (found[name] - value).abs().nan_to_num().max() / (1 + value.abs().nan_to_num(posinf=0.0).max())
        if float(off) > _TOLERANCE.get(value.dtype, 1e-4):
            raise ValueError(
                f"an exported {part} expects the {name} that the VAE computes, got one that is off by {float(off):.2g} "
                "of it; export in the other format, or from vae.double()"
            )
