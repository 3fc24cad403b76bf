"""Parameters that Pyro knows already: naming them to its store at every step costs a tenth of the step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyro.poutine import runtime
from pyro.poutine.messenger import Messenger
from torch import Tensor

__all__ = ["Known", "are_known"]


class Known(Messenger):
    """A scope in which tensors that are named to Pyro are those parameters themselves, and the store is not asked.

    A program that is told so by `are_known` names one alone, for which Pyro's objectives look before they take a
    gradient. The tensors may stand for parameters in a function of them.

    Parameters
    ----------
    parameters
        The tensors.

    Attributes
    ----------
    others
        Other parameters that were named, unconstrained.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self.others: list[Tensor] = []
        self._parameters = {id(parameter): parameter for parameter in parameters}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if len(msg["args"]) > 1 and id(msg["args"][1]) in self._parameters:
            msg["value"], msg["done"], msg["stop"] = msg["args"][1], True, True

    def _pyro_post_param(self, msg: dict[str, Any]) -> None:
        if id(msg["value"]) not in self._parameters:
            self.others.append(msg["value"].unconstrained())


def are_known() -> bool:
    """Whether the parameters of the program that is running are `Known`."""
    return any(isinstance(handler, Known) for handler in runtime._PYRO_STACK)
