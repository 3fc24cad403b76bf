"""The networks of an estimator: each gets those settings that it has parameters for; others are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from ppl_vae.factories import settings_of

__all__ = ["check_widths", "network"]


def check_widths(hidden_dims: Any) -> None:
    """Refuse anything but a sequence of layer widths.

    Raises
    ------
    TypeError
        For no sequence, and widths that are no whole numbers.
    ValueError
        For a width below 1.
    """
    if not isinstance(hidden_dims, Sequence | np.ndarray):
        raise TypeError(
            f"hidden_dims expects a sequence of widths, got {hidden_dims!r}; give (256,) for one hidden layer, or () "
            "for a linear map"
        )
    for i, width in enumerate(hidden_dims):
        check_scalar(width, f"hidden_dims[{i}]", Integral, min_val=1)


def network(net: Callable[..., Any], settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Callable[..., Any]:
    """The network with those settings that it has parameters for and that are not bound yet.

    Raises
    ------
    TypeError
        For anything but a class of networks.
    ValueError
        For any other setting that is not its default: the network would never see it.
    """
    if not callable(net):
        raise TypeError(f"net expects a class of networks, or a partial of one, got {net!r}; give MLP, say")
    free = inspect.signature(net).parameters.keys() - settings_of(net).keys()
    lost = {name: value for name, value in settings.items() if name not in free and value != defaults[name]}
    if lost:
        raise ValueError(
            f"net expects to take {' and '.join(lost)} where {'it is' if len(lost) == 1 else 'they are'} given, got "
            f"{lost} beside net={net!r}, which takes none or has it fixed; leave it out, or give it in the net alone"
        )
    return partial(net, **{name: value for name, value in settings.items() if name in free})
