"""A model that is run no further than its latents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from pyro.poutine.messenger import Messenger

__all__ = ["up_to"]


def up_to(f: Callable[..., Any], names: Iterable[str]) -> Callable[..., None]:
    """A model that stops when these sites have their values: a VAE's latents, without decoding them."""

    def stopped(*args: Any, **kwargs: Any) -> None:
        with suppress(_Reached), _UpTo(names):
            f(*args, **kwargs)

    return stopped


class _Reached(Exception):  # noqa: N818, it is no error
    """The last site has its value."""


class _UpTo(Messenger):
    """Stops a model once these sites have their values."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.left = set(names)

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        self.left.discard(msg["name"])
        if not self.left:
            raise _Reached
