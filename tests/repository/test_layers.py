"""Imports only go down, the structure stays small, and importing the package changes nothing."""

import ast
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
from importlib import import_module

import pytest
import structure
from structure import FILES, LAYER, ROOM, ROOT, TREES, imported, part, parts_imported, room, rooms_imported

import ppl_vae
from ppl_vae.cli.commands import COMMANDS

TOP = {"cli"}  # may import from the package itself, and print
MAY_IMPORT = {
    "plots": {"arguments"},
    "data": {
        "arguments",
        "domain",
        "factories",
        "files",
        "libraries",
        "precision",
        "rows",
        "split",
        "strict_yaml",
        "tensors",
        "transform",
    }
    | {"_torchvision"},
}
each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))


@each_file
def test_imports_go_down(file):
    own = part(file)
    assert own in LAYER, f"ppl_vae/{own} has no layer: put it into LAYERS of structure.py"
    assert not [node for node in ast.walk(TREES[file]) if isinstance(node, ast.ImportFrom) and node.level]
    others = parts_imported(file)
    assert not [name for name in others if LAYER[name] >= LAYER[own]], f"{own} may import only from lower layers"
    assert others <= MAY_IMPORT.get(own, set(LAYER))
    through_top = {name for module, name in imported(TREES[file]) if module == "ppl_vae"}
    assert own in TOP or through_top <= set(LAYER), "import from the module, not the package"


@each_file
def test_rooms_import_from_lower_rooms(file):
    """Only names in the `__all__` of a lower room are imported, and from the room, not from its files."""
    for other, module, name in rooms_imported(file):
        offered = getattr(import_module(f"ppl_vae.diagnostics.{other}"), "__all__", ())
        assert module == f"ppl_vae.diagnostics.{other}", f"import {name} from ppl_vae.diagnostics.{other}"
        assert name in offered, f"{name} is not among the names of ppl_vae.diagnostics.{other}"
    if own := room(file):
        assert own in ROOM, f"ppl_vae/diagnostics/{own} has no floor: put it into ROOMS of structure.py"
        back = {other for other, _, _ in rooms_imported(file) if ROOM[other] >= ROOM[own]}
        assert not back, f"{own} may import from rooms below it, not from {sorted(back)}"


@each_file
def test_text_files_have_an_encoding(file):
    calls = [node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    methods = [call for call in calls if isinstance(call.func, ast.Attribute)]
    text = [call for call in methods if call.func.attr in ("read_text", "write_text")]
    modes = {"r", "w", "a", "x"}
    text += [c for c in methods if c.func.attr == "open" and {getattr(a, "value", None) for a in c.args} & modes]
    without = [call.lineno for call in text if "encoding" not in {keyword.arg for keyword in call.keywords}]
    assert not without, f"give encoding='utf-8' in lines {without}, or use files.write_text"


def test_the_page_of_the_architecture_shows_the_layers_and_rooms():
    page = structure.PAGE.read_text()
    assert all(text in page for text in structure.blocks().values()), "python tests/repository/structure.py --write"


def test_the_structure_stays_small():
    found = structure.figures()
    print("", *(f"{name:36} {value}" for name, value in found.items()), sep="\n")
    assert found["rooms of diagnostics"] <= 12
    assert found["arrows between them"] <= 35
    assert found["median length of a file"] <= 130
    assert found["longest file"] <= 350
    assert found["median lines of code of a function"] <= 7
    assert found["functions above 40 lines"] == 0
    assert found["lines in cloned windows of 10, %"] <= 0.5


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
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        restored = {"torch.set_default_dtype", "torch.set_num_threads"}
        allowed = restored if part(file) == "isolation" else set()
        assert called not in (FORBIDDEN | GLOBAL) - allowed, f"line {node.lineno}"
        assert not [k for k in node.keywords if ast.unparse(k).replace(" ", "") == "allow_pickle=True"]
        if called.endswith("import_module"):
            assert isinstance(node.args[0], ast.Constant), "only a module that the code names"
        if called == "print":
            assert part(file) in TOP


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
        for name in {n for n in dir(ppl_vae) if not n.startswith("_")} - {"manifold", "sklearn"}:
            getattr(ppl_vae, name)
        assert state() == before
        heavy = {"PIL", "arviz", "h5py", "jsonargparse", "matplotlib", "pandas", "scipy", "skimage", "sklearn"}
        heavy |= {"torchvision", "umap", "xarray"}
        assert not heavy & set(sys.modules) - loaded, heavy & set(sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


QUICK = {
    "import": "import ppl_vae; ppl_vae.__version__; dir(ppl_vae)",
    "overview": ["--help"],
    "version": ["--version"],
    "unknown command": ["trian"],
    **{f"help of {name}": [name, "--help"] for name in COMMANDS},
    "misspelt option": ["train", "--epoch", "3"],
    "option without its value": ["evaluate", "runs/a", "--seed"],
    "missing argument": ["evaluate"],
    "missing option": ["fit-prior", "runs/a"],
    "unknown class": ["train", "--prior", "Vamp"],
    "unknown data": ["train", "--data", "nosuch"],
    "number too small": ["train", "--batch-size", "-3"],
    "no dimension": ["train", "--latent-dim", "[2, 0]"],
    "no run": ["evaluate", "nonexistent"],
    "value of another type": ["train", "--prior", "VampPrior", "--prior.num_components", "9", "--epochs", "many"],
}


@pytest.mark.own_seeds
def test_what_needs_no_numbers_imports_no_torch():
    """Run in one process, which tells what is loaded after each."""
    code = f"""if True:
        import contextlib, io, sys
        for name, words in {QUICK!r}.items():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                if isinstance(words, str):
                    exec(words)
                else:
                    from ppl_vae.cli import main
                    try:
                        main(words)
                    except SystemExit:
                        pass
            slow = {{"arviz", "numpy", "pandas", "pyro", "scipy", "sklearn", "torch", "torchvision"}} & set(sys.modules)
            assert not slow, f"{{name}} imports {{slow}}"
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_imported_at_its_first_use():
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert {name: getattr(ppl_vae, name) for name in listed}.keys() <= set(dir(ppl_vae))
    imported = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(listed) == imported
    assert ppl_vae.fit is import_module("ppl_vae.training").fit
    assert ppl_vae.draws is import_module("ppl_vae.draws")  # modules that have no public names of the package
    assert pickle.loads(pickle.dumps(ppl_vae.VAE)) is ppl_vae.VAE
    with pytest.raises(AttributeError, match="'ppl_vae' has no attribute 'vea'"):
        ppl_vae.vea  # noqa: B018


def test_help_is_two_screens_that_say_where_to_go_next():
    said = pydoc.render_doc(ppl_vae, renderer=pydoc.plaintext)
    assert len(said.splitlines()) <= 130
    readme = [line.partition("  #")[0] for line in (ROOT.parent / "README.md").read_text().splitlines()]
    statements = re.findall(r"^ {8}(\w.*)$", said.partition("Where to go next")[0], re.MULTILINE)
    assert len(statements) == 7  # the import, and six
    assert set(statements) <= set(readme)
    for name in re.findall(r"ppl_vae\.(\w+)  ", said):
        assert inspect.getdoc(getattr(ppl_vae, name)), name
    assert not hasattr(ppl_vae, "data.load")
