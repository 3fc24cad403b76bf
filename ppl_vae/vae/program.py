"""A user's Pyro model and guide, as one object."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ppl_vae.arguments import Count, Seed, checked
from ppl_vae.calls import query, verb
from ppl_vae.isolation import (
    empty_store,
    eval_mode,
    evaluating,
    random_states,
    set_random_states,
    without_store,
)
from ppl_vae.latent_draws import Unvalidated
from ppl_vae.split import Split
from ppl_vae.vae.handlers import FilledObserved, ScaledLatents
from ppl_vae.vae.traced import decoded, encoded, sampled

__all__ = ["Program"]


@checked
class Program(nn.Module):
    """Two plain Pyro functions as one object with `.model` and `.guide`, usable wherever a `VAE` is.

    It holds the values of their `pyro.param`s itself, not in Pyro's global store, so that several fitted programs do
    not interfere. Those that are in the store when it is made start at the values there, as `SVI` left them, with a
    warning. The functions are called as `model(x, *context)`, with `mask=` if elements are missing.

    Parameters
    ----------
    model
        p(x, z), a Pyro function whose latent and observed sites lie in one plate over the data.
    guide
        q(z | x), with the same latent sites.
    *modules
        Networks that the functions use, so that `.to(device)`, `.train()` and `.eval()` apply to them; the owner of a
        bound method is registered automatically.

    Examples
    --------
    >>> import pyro.distributions as dist, torch
    >>> def model(x):
    ...     with pyro.plate("data", len(x)):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    ...     with pyro.plate("data", len(x)):
    ...         pyro.sample("z", dist.Normal(x / 2, scale))
    >>> program = Program(model, guide)
    >>> program.guide(torch.zeros(3))
    >>> [name for name, _ in program.named_parameters()]
    ['params.pyro:scale']
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self._model, self._guide = model, guide
        owners = [getattr(f, "__self__", None) for f in (model, guide)]
        unique = {id(m): m for m in (*modules, *owners) if isinstance(m, nn.Module)}
        self.used = nn.ModuleList(unique.values())
        self.params = nn.ParameterDict()
        self._constraints: dict[str, Constraint] = {}
        self._others: dict[str, nn.Parameter] = {}
        self._starts: dict[str, tuple[int, torch.Size]] = {}
        self._outside = _stored()

    @property
    def functions(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The model and guide functions, as given."""
        return self._model, self._guide

    def model(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> Any:
        """Call the model function; `beta` > 0 scales its latent sites."""
        return self._call(self._model, x, context, mask, beta)

    def guide(self, x: Tensor, *context: Tensor, mask: Tensor | bool = True, beta: float = 1.0) -> Any:
        """Call the guide function; `beta` > 0 scales its latent sites."""
        return self._call(self._guide, x, context, mask, beta)

    @verb
    def sample(self, n: Count, *context: Tensor, like: Any, seed: Seed | None = None, mean: bool = False) -> Tensor:
        """n draws of x from the model, or of its mean given the latents; (n, *x_shape).

        Parameters
        ----------
        n
            Number of draws.
        *context
            What to condition on, each (n, ...).
        like
            Data (m, *x_shape): the model is called with its first row n times, and observes what it draws itself. What
            it reads of x otherwise, a total say, is that row's.
        seed
            Seed of the draws; fresh entropy if `None`.
        mean
            Give the mean of the observed site instead of a draw.

        Raises
        ------
        ValueError
            Unless the model observes one site.
        """
        with evaluating(self, seed):
            return sampled(self, n, context, like, mean)

    @query
    def encode(self, x: Any, *context: Tensor, mask: Tensor | bool = True) -> TorchDistribution:
        """q(z | x) as the guide samples it, with the data's plate as its batch; networks in eval mode.

        Data are taken as in `VAE.encode`. The guide is run once, and uses torch's global generator.

        Raises
        ------
        TypeError
            For a guide of several latent sites, which have no one distribution.
        ValueError
            For data that are not finite.
        """
        with eval_mode(self):
            return encoded(self, Split.of(x, *context, mask=mask))

    @query
    def decode(self, z: Any, *context: Tensor, like: Any) -> TorchDistribution:
        """p(x | z) as the model observes it, for latents z; networks in eval mode.

        Parameters
        ----------
        z
            Values (n, ...) of the latent site; of several sites a dict of them by name.
        *context
            What to condition on, each (n, ...).
        like
            Two different data (2, *x_shape) or more: the model is called with each of the first two, n times.

        Raises
        ------
        ValueError
            Where the distribution depends on x itself and not on z alone, for latents other than the model's, and
            unless the model observes one site.
        """
        with eval_mode(self):
            return decoded(self, z, context, like)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As that of `nn.Module`, once a call has made the parameters."""
        if strict and (late := [k for k in state_dict if k[:7] == "params." and k[7:] not in self.params]):
            raise ValueError(
                f"a Program expects weights of parameters that it has made, got {late[0]!r}, which it has not; call "
                "program.guide(x) and program.model(x) once before, on any data"
            )
        return super().load_state_dict(state_dict, strict, assign)

    def __getstate__(self) -> dict[str, Any]:
        return without_store(self)

    def _call(
        self, f: Callable[..., Any], x: Tensor, context: tuple[Tensor, ...], mask: Tensor | bool, beta: float
    ) -> Any:
        own = _OwnParams(self, len(x))
        try:
            return self._run(own, f, x, context, mask, beta)
        finally:
            own.warn_of_taken()

    def _run(
        self, own: _OwnParams, f: Callable[..., Any], x: Tensor, context: tuple[Tensor, ...], mask: Any, beta: float
    ) -> Any:
        with empty_store(), own, ScaledLatents(beta), Unvalidated(drawn=f is self._guide):
            if mask is True:
                try:
                    return f(x, *context)
                except TypeError as error:
                    _check_takes(f, 1 + len(context), error)
                    raise
            if "mask" not in inspect.signature(f).parameters:
                raise TypeError(
                    f"data with missing elements expect functions with a mask argument, got {f.__name__}"
                    f"{inspect.signature(f)}; add mask=True to it, and score x with dist.mask(mask)"
                )
            with FilledObserved():
                return f(x, *context, mask=mask)


def _check_takes(f: Callable[..., Any], num: int, error: TypeError) -> None:
    """Say of a function that does not take so many tensors what to give, in the place of Python's error."""
    signature = inspect.signature(f)
    wanted = [p.name for p in signature.parameters.values() if p.kind == p.KEYWORD_ONLY and p.default is p.empty]
    try:
        signature.bind(*[None] * num, **dict.fromkeys(wanted))
    except TypeError:
        raise TypeError(
            f"a program expects data (x, *context) for its functions, got {num} tensors for "
            f"{getattr(f, '__name__', type(f).__name__)}{signature}; give a context where x is given, fit(program, (x, "
            "c)) and evaluate(program, x, c), or none"
        ) from error


class _OwnParams(Messenger):
    """Answers `pyro.param` from a program's parameters, unconstrained, instead of from the global store.

    Parameters of `PyroModule`s that the program does not have are kept with them.
    """

    def __init__(self, program: Program, num_data: int) -> None:
        super().__init__()
        self.program, self.num_data = program, num_data
        self.outside = program._outside
        self.taken: list[str] = []
        self.params, self.constraints, self.others = program.params, program._constraints, program._others

    @cached_property
    def known(self) -> set[int]:
        """What the program has, by `id`; asked for modules' parameters alone."""
        return {id(parameter) for parameter in self.program.parameters()}

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        name, store = msg["name"], pyro.get_param_store()
        of_module = name in store  # a `PyroParam` of a `PyroModule`, which puts it there, in each call
        parameter, constraint = self._of_module(name, store.get_state()) if of_module else self._named(name, msg)
        value = transform_to(constraint)(parameter)
        if of_module and value is parameter:  # leaving a store takes away what hangs on its parameters
            value = value.view_as(value)
        value.unconstrained = lambda: parameter
        msg["value"], msg["done"], msg["stop"] = value, True, False

    def _of_module(self, name: str, state: Any) -> tuple[nn.Parameter, Constraint]:
        """The parameter of a module: several modules may have one of a name."""
        parameter = state["params"][name]
        if id(parameter) not in self.known:
            taken = sum(key.rpartition(":")[0] == _key("module", name) for key in self.params)
            self.params[f"{_key('module', name)}:{taken}"] = parameter
            self.known.add(id(parameter))
        return parameter, state["constraints"][name]

    def _named(self, name: str, msg: dict[str, Any]) -> tuple[nn.Parameter, Constraint]:
        """The parameter of a `pyro.param` statement, made at the first of that name."""
        key, given = _key("pyro", name), msg["args"][1] if len(msg["args"]) > 1 else None
        if key not in self.params:
            taken = name in self.outside and not isinstance(given, nn.Parameter)
            starts = _starts(msg) or not taken  # without a start value and a stored one Pyro raises an error
            made = self._made(msg) if starts else self.outside[name][0]
            self.program._starts[key] = self.num_data, made.shape
            self.constraints[key] = msg["kwargs"].get("constraint")
            if taken:
                made, self.constraints[key] = self.outside.pop(name)
                self.taken.append(name)
            self.params[key] = made if isinstance(made, nn.Parameter) else nn.Parameter(made.detach())
        self._refuse_per_datum(name, key, msg)
        self._refuse_second(name, key, given)
        return self.params[key], self.constraints[key]

    def warn_of_taken(self) -> None:
        """Warn of parameters that Pyro's store had a value of, which a `pyro.param` statement means then."""
        if self.taken:
            warnings.warn(
                f"a program's pyro.params {', '.join(map(repr, self.taken))} start at the values that Pyro's parameter "
                "store had, as SVI left them, and not at those of the statements; call pyro.clear_param_store() before "
                "Program, if they are another model's",
                stacklevel=4,
            )

    def _made(self, msg: dict[str, Any]) -> Tensor:
        """The starting value of a `pyro.param` statement, unconstrained."""
        with pyro.get_param_store().scope():
            made: Any = msg["fn"]
            unconstrained: Tensor = made(*msg["args"], **msg["kwargs"]).unconstrained()
        return unconstrained

    def _refuse_per_datum(self, name: str, key: str, msg: dict[str, Any]) -> None:
        """Refuse a parameter whose shape follows the number of data, once it is seen at another one.

        Its rows would be those of other data in the next batch.
        """
        num_data, shape = self.program._starts.get(key, (self.num_data, None))
        if self.num_data == num_data or not _starts(msg):
            return
        before = random_states((self.params[key],))
        now = self._made(msg).shape
        set_random_states(before, (self.params[key],))
        if now != shape:
            raise ValueError(
                f"a program expects parameters that are the same for all data, got {name!r} of shape "
                f"{tuple(shape or ())} for {num_data} data and {tuple(now)} for {self.num_data}: data come in batches "
                "and in another order each time; compute what belongs to a datum from x, by a network, and give a "
                "start value whose shape is always the same"
            )
        del self.program._starts[key]

    def _refuse_second(self, name: str, key: str, given: Any) -> None:
        """Refuse a module's parameter of a name that another has, once it is seen again: it would not be trained."""
        if not isinstance(given, nn.Parameter) or given is self.params[key] or id(given) in self.known:
            return
        if self.others.get(key) is given:
            raise ValueError(
                f"a program expects to be given modules that have a parameter of one name, got a second {name!r}; "
                "write Program(model, guide, *modules)"
            )
        self.others[key] = given


def _starts(msg: Mapping[str, Any]) -> bool:
    """Whether a `pyro.param` statement has a start value."""
    return len(msg["args"]) > 1 or "init_tensor" in msg["kwargs"]


def _stored() -> dict[str, tuple[Tensor, Constraint]]:
    """Copies of the parameters in Pyro's store, unconstrained, with their constraints."""
    state = pyro.get_param_store().get_state()
    return {n: (p.detach().clone(), state["constraints"][n]) for n, p in state["params"].items()}


def _key(kind: str, name: str) -> str:
    """Where a parameter is kept: its name in a module may not contain a dot, nor be that of a method."""
    return f"{kind}:{name.replace('%', '%25').replace('.', '%2E')}"
