"""The noun that every verb takes: a torch module with a Pyro model and guide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self

from torch import Tensor, nn

__all__ = ["Modelled", "TorchModule", "is_modelled"]


class TorchModule(Protocol):
    """What the package uses of an `nn.Module`: a protocol cannot inherit from a class."""

    training: bool

    def parameters(self) -> Iterator[nn.Parameter]:
        """As `nn.Module.parameters`."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """As `nn.Module.named_parameters`."""

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """As `nn.Module.named_buffers`."""

    def modules(self) -> Iterator[nn.Module]:
        """As `nn.Module.modules`."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """As `nn.Module.named_modules`."""

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`."""

    def eval(self) -> Self:
        """As `nn.Module.eval`."""

    def state_dict(self) -> dict[str, Any]:
        """As `nn.Module.state_dict`."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """As `nn.Module.load_state_dict`."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `nn.Module.to`."""


class Modelled(TorchModule, Protocol):
    """A torch module with `.model` and `.guide`: a `VAE`, a `Program`, or your own.

    Both are called as `f(x, *context)`, with `mask=` where data are missing and `beta=` where it is not 1.
    """

    @property
    def model(self) -> Callable[..., Any]:
        """p(x, z)."""

    @property
    def guide(self) -> Callable[..., Any]:
        """q(z | x)."""


def is_modelled(value: Any) -> bool:
    """Whether a value is a torch module with a model and a guide."""
    return isinstance(value, nn.Module) and hasattr(value, "model") and hasattr(value, "guide")
