"""Settings of the documentation, which `make docs` builds with Sphinx; nothing is fetched at build or view time."""

import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml import converter
from sphinx.application import Sphinx

import ppl_vae

HERE = Path(__file__).parent
NOTEBOOKS = HERE / "notebooks"  # Sphinx reads files below this folder alone, so copies of the experiments' notebooks

project = "ppl_vae"
author = "The ppl_vae developers"
version = release = ppl_vae.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build", "_templates"]

html_theme = "furo"
html_title = f"ppl_vae {release}"
html_static_path = []
html_copy_source = False
html_math_renderer = "mathml"

nb_execution_mode = "off"  # they are committed with their outputs, and the tests run them
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"  # the docstrings give types in words
numpydoc_show_class_members = False
default_role = "code"  # `name` in a docstring

shutil.rmtree(NOTEBOOKS, ignore_errors=True)
for notebook in sorted((HERE.parent / "experiments").rglob("*.ipynb")):
    copy = NOTEBOOKS / notebook.relative_to(HERE.parent / "experiments")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(notebook.read_text().replace("](../../docs/", "](../../"))

MODULES = {
    "priors": "Priors",
    "likelihoods": "Likelihoods",
    "posteriors": "Posteriors",
    "nets": "Networks",
    "corruptions": "Corruptions",
    "objectives": "Objectives",
    "data": "Data",
    "evaluation": "Evaluation",
    "diagnostics": "Diagnostics",
    "plots": "Plots",
    "manifold": "Manifold learning",
    "sklearn": "Estimators of scikit-learn",
    "callbacks": "Loggers",
}


def page(title: str, module: str, names: list[str]) -> str:
    """A page of the reference: one line a name, each with a page of its own."""
    listed = "".join(f"   {name}\n" for name in sorted(names, key=str.lower))
    heading = f"{title}\n{'=' * len(title)}\n\n.. currentmodule:: {module}\n\n"
    return f"{heading}.. autosummary::\n   :toctree: {module}\n\n{listed}"


def write_reference() -> None:
    """Write the pages of the reference from each module's `__all__`, so that none goes stale."""
    reference = HERE / "reference"
    reference.mkdir(exist_ok=True)
    shown = set(MODULES)
    for name, title in MODULES.items():
        module = importlib.import_module(f"ppl_vae.{name}")
        shown |= set(module.__all__)
        parts = {part: getattr(module, part) for part in module.__all__}
        names = [part for part, value in parts.items() if inspect.isclass(value) or inspect.isfunction(value)]
        (reference / f"{name}.rst").write_text(page(title, module.__name__, names))
    public = [name for name in dir(ppl_vae) if not name.startswith("_")]
    rest = [name for name in public if name not in shown and not inspect.ismodule(getattr(ppl_vae, name))]
    (reference / "verbs.rst").write_text(page("Models and verbs", "ppl_vae", rest))
    listed = "".join(f"   {name}\n" for name in ["verbs", *MODULES])
    heading = f"Every public name\n{'=' * 17}\n\n"
    (reference / "index.rst").write_text(f"{heading}.. toctree::\n   :maxdepth: 1\n\n{listed}")


def escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape what docstrings mean literally: the star of `*context`, the bar of p(x | z), the end of `fitted_`.

    A star that begins a line is left to numpydoc: it names a parameter. Examples are code.
    """
    prose = lines.index("Examples") if "Examples" in lines else len(lines)
    for number, line in enumerate(lines[:prose]):
        parts = re.split(r"(``?[^`]*``?)", line)
        parts[::2] = [re.sub(r"(?<=[^\\*])\*+(?=\w)|\||(?<=\w)_(?=\W|$)", escaped, part) for part in parts[::2]]
        lines[number] = "".join(parts)


def escaped(found: re.Match[str]) -> str:
    """Each character after a backslash."""
    return re.sub("(.)", r"\\\1", found[0])


def formula(self: Any, node: nodes.Node) -> None:
    """Write mathematics as MathML, which browsers draw without a script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(converter.convert(node.astext(), display=display))
    raise nodes.SkipNode


def to_copies(app: Sphinx, name: str, source: list[str]) -> None:
    """Lead from a page to the copy of a notebook below this folder, where the page names the file in the repository."""
    source[0] = re.sub(r"\]\(\.\./experiments/([\w/]+\.ipynb)", r"](/notebooks/\1", source[0])


def setup(app: Sphinx) -> None:
    """Write the reference, and read docstrings as they are meant."""
    write_reference()
    app.connect("source-read", to_copies)
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", escape, priority=400)  # before numpydoc
