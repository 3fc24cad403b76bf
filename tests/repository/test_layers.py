"""Imports only go down, and importing the package changes nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppl_vae

ROOT = Path(ppl_vae.__file__).parent
LAYERS = [
    "arguments calls isolation memory conditional nets distributions domain split support tensors traces enumeration "
    "draws importance precision latent_draws codebook corruptions _torchvision files checksums",
    "priors posteriors likelihoods",
    "vae objectives",
    "training evaluation",
    "diagnostics sklearn",
    "manifold",
    "plots data",
    "cli demo",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}
MAY_IMPORT = {"plots": {"arguments"}, "data": {"arguments", "domain", "split", "tensors", "_torchvision"}}
FILES = [f for f in sorted(ROOT.rglob("*.py")) if f != ROOT / "__init__.py"]
TREES = {f: ast.parse(f.read_text()) for f in FILES}


def part(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    """Parts of the package a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("ppl_vae."):
                yield name.split(".")[1]


IMPORTS = {f: set(imported(tree)) & set(map(part, FILES)) for f, tree in TREES.items()}  # names of __init__ left out
each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))


@each_file
def test_imports_go_down(file):
    own = part(file)
    assert own in LAYER, f"ppl_vae/{own} has no layer: put it into the table"
    for name in IMPORTS[file] - {own}:
        assert LAYER[name] < LAYER[own] or LAYER[name] == LAYER[own] == 0, f"{own} may not import {name}"
    assert IMPORTS[file] - {own} <= MAY_IMPORT.get(own, set(LAYER))
    if own not in ("cli", "demo"):
        through_top = [n for n in ast.walk(TREES[file]) if isinstance(n, ast.ImportFrom) and n.module == "ppl_vae"]
        assert {a.name for n in through_top for a in n.names} <= set(LAYER), "import from the module, not the package"


def test_the_lowest_layer_has_no_cycle():
    below = {n: set() for n in LAYERS[0].split()}
    for file, names in IMPORTS.items():
        if part(file) in below:
            below[part(file)] |= names & set(below) - {part(file)}
    while below:
        free = {n for n, needs in below.items() if not needs & set(below)}
        assert free, f"these import each other: {sorted(below)}"
        below = {n: needs for n, needs in below.items() if n not in free}


def called(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


FORBIDDEN = {"eval", "exec", "torch.save", "torch.load", "__import__", "pyro.set_rng_seed"}
GLOBAL = {
    "torch.set_default_dtype",
    "torch.set_num_threads",
    "pyro.clear_param_store",
    "pyro.enable_validation",
}


@each_file
def test_what_no_file_does(file):
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.ImportFrom):
            assert "*" not in [a.name for a in node.names]
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {getattr(node, "module", None), *(a.name for a in node.names)}
            assert not modules & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
        allowed = {"torch.set_default_dtype"} if part(file) == "isolation" else set()  # which puts it back
        assert called(node) not in (FORBIDDEN | GLOBAL) - allowed, f"line {getattr(node, 'lineno', 0)}"
        assert "allow_pickle=True" not in (ast.unparse(node) if called(node) else "")
        if called(node).endswith("import_module"):
            assert isinstance(node.args[0], ast.Constant), "only a module that the code names"
        if called(node) == "print":
            assert part(file) in ("cli", "demo")


def test_modules_say_what_they_offer():
    for file, tree in TREES.items():
        names = [n.targets[0].id for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        assert "__all__" in names or file.name == "__main__.py", file
        assert ast.get_docstring(tree), file


def test_importing_changes_nothing_and_is_lazy():
    code = """if True:
        import random, sys
        import numpy as np, torch, pyro
        def state():
            return (
                torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
                torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(),
                torch.distributions.Distribution._validate_args, pyro.distributions.is_validation_enabled(),
                len(pyro.get_param_store()), pyro.settings.get(),
            )
        before, loaded = state(), set(sys.modules)
        import ppl_vae
        assert state() == before
        heavy = {"arviz", "matplotlib", "torchvision", "jsonargparse", "PIL", "sklearn.ensemble", "skimage", "umap"}
        assert not heavy & set(sys.modules) - loaded, heavy & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
