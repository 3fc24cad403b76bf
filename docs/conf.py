"""Settings of the documentation, which `make docs` builds with Sphinx; nothing is fetched at build or view time."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml import converter
from sphinx.application import Sphinx

import ppl_vae

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from reference_pages import write_reference  # noqa: E402  # beside this file, where Sphinx does not look

NOTEBOOKS = HERE / "notebooks"  # Sphinx reads files below this folder alone, so copies of the experiments' notebooks

project = "ppl_vae"
author = "The ppl_vae developers"
version = release = ppl_vae.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ppl_vae {release}"
html_static_path = []
html_copy_source = False
html_math_renderer = "mathml"

nb_execution_mode = "off"  # they are committed with their outputs, and the tests run them
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = False  # the pages are written by `write_reference`
autodoc_typehints = "none"  # the docstrings give types in words
numpydoc_show_class_members = False
default_role = "code"  # `name` in a docstring

shutil.rmtree(NOTEBOOKS, ignore_errors=True)
for notebook in sorted((HERE.parent / "experiments").rglob("*.ipynb")):
    copy = NOTEBOOKS / notebook.relative_to(HERE.parent / "experiments")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(notebook.read_text().replace("](../../docs/", "](../../"))


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
    write_reference(HERE / "reference")
    app.connect("source-read", to_copies)
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", escape, priority=400)  # before numpydoc
