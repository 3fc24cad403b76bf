"""Variational autoencoders as Pyro `model` and `guide`: swap one part, and know what changed.

    import ppl_vae

    data = ppl_vae.data.load("digits", likelihood=ppl_vae.Bernoulli)
    vae = ppl_vae.build(data, latent_dim=8, prior=ppl_vae.StandardNormal, seed=0)
    fit = ppl_vae.fit(vae, data, epochs=50)
    result = ppl_vae.evaluate(vae, data.test, seed=0)
    x = vae.sample(64, seed=0)
    tree = ppl_vae.to_arviz(vae, data.test, seed=0)

Where to go next, with `help` or on the pages of `docs`:

    ppl_vae.build       a VAE of data and parts          ppl_vae.priors         p(z)
    ppl_vae.fit         training, run folders            ppl_vae.likelihoods    p(x | z)
    ppl_vae.evaluate    log p(x), with errors            ppl_vae.posteriors     q(z | x)
    ppl_vae.diagnose    a verdict on q, with reasons     ppl_vae.objectives     ELBO, IWAE, beta, ...
    ppl_vae.compare     a table of models                ppl_vae.nets           networks
    ppl_vae.impute      missing values                   ppl_vae.data           data sets, files, frames
    ppl_vae.refine      q of one datum, improved         ppl_vae.diagnostics    SBC, AIS, HMC, BDMC, ...
    ppl_vae.load        a stored run                     ppl_vae.plots          figures
    ppl_vae.report      a page to explore a run          ppl_vae.manifold       manifold learning
    ppl_vae.Program     your own Pyro model and guide    ppl_vae.sklearn        estimators

`dir(ppl_vae)` lists every public name, `ppl-vae list` every part in a line, and `ppl-vae --help` the commands. `help`
of a class, `help(ppl_vae.VampPrior)`, begins with what it is; `help(ppl_vae.priors)` is long, as it repeats for each
class what that inherits from torch.
"""

import ast as _ast
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path
from typing import Any as _Any

__version__ = "0.1.0"

# Names are imported at their first use, so that `import ppl_vae` does not wait for torch. Which module each comes from
# is read from the stub, which type checkers read and which holds `__all__`: here it would make `help` print the help of
# every name, 80,000 lines.
_STUB = _ast.parse(_Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {a.name: node.module for node in _STUB.body if isinstance(node, _ast.ImportFrom) for a in node.names}


def __getattr__(name: str) -> _Any:
    """A public name, or a module of the package, imported at its first use."""
    if _MODULES.get(name, "ppl_vae") != "ppl_vae":
        found = getattr(_import_module(_MODULES[name]), name)
    elif name.isidentifier() and not name.startswith("__") and _find_spec(f"ppl_vae.{name}"):
        found = _import_module(f"ppl_vae.{name}")
    else:
        raise AttributeError(f"module 'ppl_vae' has no attribute {name!r}")
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    """Every public name."""
    return sorted({*globals(), *_MODULES})
