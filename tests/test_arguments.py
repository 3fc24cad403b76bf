"""Arguments are checked against annotations, with one sentence."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch

from ppl_vae.arguments import Count, Fraction, NonNegative, Positive, Seed, Share, Whole, checked


@checked
def draw(
    x: Any = None,
    *more: int,
    num: Count = 3,
    left: Whole = 0,
    seed: Seed | None = None,
    share: Share = 0.5,
    part: Fraction = 0.5,
    rate: Positive = 1e-3,
    weight: NonNegative = 0.0,
    scale: float | Literal["learned", "decoder"] = "learned",
    kind: Literal["prior", "guide"] = "prior",
    dims: Sequence[Count] = (4,),
    parts: tuple[float, float] = (0.8, 0.2),
    names: Mapping[str, int] | None = None,
    error: type[Exception] = ValueError,
    call: Callable[[int], int] | None = None,
    quiet: bool = False,
    **options: float,
) -> str:
    """Return a word."""
    return "drawn"


GOOD = [
    {"num": np.int64(3)},
    {"share": 0},
    {"share": np.float32(1)},
    {"seed": 2**63 - 1},
    {"rate": 10**9},
    {"scale": 2},
    {"scale": "decoder"},
    {"dims": [1, 2]},
    {"dims": ()},
    {"dims": np.array([3])},
    {"dims": torch.Size([3])},
    {"parts": [1, 0]},
    {"names": {"a": 1}},
    {"error": KeyError},
    {"call": len},
    {"quiet": np.True_},
    {"anything": 1.5},
]


@pytest.mark.parametrize("good", GOOD, ids=str)
def test_what_fits_passes(good):
    assert draw(**good) == "drawn"


@checked
def returned(
    *more: int,
    seed: Seed | None = None,
    weight: float | Callable[[], float] = 1.0,
    quiet: bool = False,
    dims: Count | Sequence[Count] = 1,
    parts: tuple[float, float] = (0.8, 0.2),
    names: Mapping[str, float] | None = None,
    x: Any = None,
    **options: float,
) -> tuple[Any, ...]:
    """Return what came."""
    return more, seed, weight, quiet, dims, parts, names, x, options


def test_functions_are_given_python_numbers_for_those_of_numpy():
    one, half = np.uint8(1), np.float32(0.5)
    given = {"seed": one, "weight": half, "quiet": np.True_, "dims": np.array([1, 1]), "parts": [half, one]}
    came = returned(one, **given, names={"a": half}, x=one, other=np.float64(0.5))
    assert repr(came) == "((1,), 1, 0.5, True, (1, 1), [0.5, 1], {'a': 0.5}, np.uint8(1), {'other': 0.5})"
    assert returned(weight=1)[2] == 1
    assert isinstance(returned(weight=1)[2], int)
    dims = [1, 2]
    assert returned(dims=dims)[4] is dims  # what is plain is handed on as it is


BAD = [
    ({"num": 0}, ValueError, "draw expects num to be a whole number from 1 on, got 0; the default is 3"),
    ({"num": 1.5}, TypeError, "a whole number from 1 on, got 1.5"),
    ({"num": True}, TypeError, "got True"),
    ({"num": "3"}, TypeError, "got '3'"),
    ({"num": float("nan")}, TypeError, "got nan"),
    ({"num": None}, TypeError, "got None"),
    ({"num": torch.ones(2)}, TypeError, r"got Tensor of shape \(2,\)"),
    ({"left": -1}, ValueError, "from 0 on, got -1"),
    ({"seed": -1}, ValueError, r"from 0 to 2\^63 - 1 or None, got -1; leave it out, or give one"),
    ({"seed": 2**63}, ValueError, "got 9223372036854775808"),
    ({"share": 1.1}, ValueError, "a number from 0 to 1, got 1.1"),
    ({"share": float("nan")}, ValueError, "got nan"),
    ({"part": 1}, ValueError, "above 0 and below 1, got 1"),
    ({"rate": 0}, ValueError, "a number above 0, got 0"),
    ({"rate": float("inf")}, ValueError, "got inf"),
    ({"rate": 1j}, TypeError, "got complex 1j"),
    ({"weight": -1e-9}, ValueError, "a number from 0 on, got -1e-09"),
    ({"scale": "lerned"}, ValueError, "did you mean 'learned'"),
    ({"kind": "Guide"}, ValueError, "'prior' or 'guide', got 'Guide'; did you mean 'guide'"),
    ({"kind": 3}, TypeError, "got 3"),
    ({"dims": 3}, TypeError, "a sequence, each a whole number from 1 on, got 3"),
    ({"dims": "34"}, TypeError, "got '34'"),
    ({"dims": (3, 0)}, ValueError, r"got \(3, 0\)"),
    ({"parts": (1,)}, ValueError, r"\(a number, a number\), got \(1,\)"),
    ({"parts": (1, "a")}, TypeError, "got"),
    ({"names": {"a": 1.5}}, TypeError, "a mapping from text to a whole number or None"),
    ({"names": [1]}, TypeError, "got"),
    ({"error": int}, TypeError, "a class of Exception, got <class 'int'>"),
    ({"call": 3}, TypeError, "a class or function or None, got 3"),
    ({"quiet": 1}, TypeError, "True or False, got 1"),
    ({"anything": "x"}, TypeError, "options to be a number, got 'x'"),
]


@pytest.mark.parametrize(("bad", "error", "said"), BAD, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_what_does_not_fit_is_refused(bad, error, said):
    with pytest.raises(error, match=said):
        draw(**bad)
    with pytest.raises(TypeError, match=r"draw expects more to be a whole number, got 1\.5"):
        draw(0, 1, 1.5)


def test_calls_that_do_not_fit_the_signature():
    @checked
    def f(program: Any, *, epochs: Count = 1) -> None: ...

    with pytest.raises(TypeError, match="got one with an unexpected keyword argument 'epoch'; did you mean"):
        f(0, epoch=3)
    with pytest.raises(TypeError, match=r"f expects a call that fits its signature, .*missing.*'program'; give"):
        f()


def test_classes_name_themselves():
    @checked
    class Above:
        def __init__(self, dim: Count) -> None:
            self.dim = dim

    class Below(Above):
        pass

    assert Below(3).dim == 3
    with pytest.raises(ValueError, match="Below expects dim to be a whole number from 1 on, got 0"):
        Below(0)


def test_an_array_where_a_tuple_of_tensors_would_do_stays_one():
    @checked
    def f(context: torch.Tensor | tuple[torch.Tensor, ...] = ()):
        return context

    values = np.arange(3.0)
    assert f(values) is values
