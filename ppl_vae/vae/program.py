"""A user's Pyro model and guide, as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pyro
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from ppl_vae import support
from ppl_vae.arguments import checked
from ppl_vae.isolation import without_store
from ppl_vae.latent_draws import Unvalidated

__all__ = ["Program"]


@checked
class Program(nn.Module):
    """Two plain Pyro functions as one object with `.model` and `.guide`, usable wherever a `VAE` is.

    It holds the values of their `pyro.param`s itself, not in Pyro's global store, so that several fitted programs do
    not interfere. The functions are called as `model(x, *context)`, with `mask=` if elements are missing.

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

    def __getstate__(self) -> dict[str, Any]:
        return without_store(self)

    def _call(
        self, f: Callable[..., Any], x: Tensor, context: tuple[Tensor, ...], mask: Tensor | bool, beta: float
    ) -> Any:
        with _OwnParams(self.params, self._constraints), _ScaledLatents(beta), Unvalidated(drawn=f is self._guide):
            if mask is True:
                return f(x, *context)
            if "mask" not in inspect.signature(f).parameters:
                raise TypeError(
                    f"data with missing elements expect functions with a mask argument, got {f.__name__}"
                    f"{inspect.signature(f)}; add mask=True to it, and score x with dist.mask(mask)"
                )
            with _FilledObserved():
                return f(x, *context, mask=mask)


class _OwnParams(Messenger):
    """Answers `pyro.param` from a module's parameters, unconstrained, instead of from the global store."""

    def __init__(self, params: nn.ParameterDict, constraints: dict[str, Constraint]) -> None:
        super().__init__()
        self.params, self.constraints = params, constraints

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        # a parameter's name in a module may not contain a dot, nor be that of a method
        key = "pyro:" + msg["name"].replace("%", "%25").replace(".", "%2E")
        if key not in self.params:
            with pyro.get_param_store().scope():
                value = msg["fn"](*msg["args"], **msg["kwargs"])
                unconstrained = value.unconstrained()
                self.constraints[key] = msg["kwargs"].get("constraint")
            is_parameter = isinstance(unconstrained, nn.Parameter)
            self.params[key] = unconstrained if is_parameter else nn.Parameter(unconstrained.detach())
        parameter = self.params[key]
        value = transform_to(self.constraints[key])(parameter)
        value.unconstrained = lambda: parameter
        msg["value"], msg["done"], msg["stop"] = value, True, False


class _FilledObserved(Messenger):
    """Replaces missing values by ones in the support, at observed sites whose distribution masks elements."""

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["is_observed"] and isinstance(mask := support.element_mask(msg["fn"]), Tensor):
            msg["value"] = support.filled(msg["value"], mask, msg["fn"])


class _ScaledLatents(Messenger):
    """Scales the log density of every latent site."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and not poutine.util.site_is_subsample(msg):
            msg["scale"] = self.beta * msg["scale"]
