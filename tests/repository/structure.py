"""Layers and rooms of the package, and figures of its structure.

    python tests/repository/structure.py            print the figures
    python tests/repository/structure.py --write    draw layers and rooms into docs/architecture.md again

A file imports only from lower layers, and in `ppl_vae.diagnostics` only from lower rooms; `test_layers.py` checks it.
"""

import argparse
import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).parents[2]
ROOT = REPOSITORY / "ppl_vae"
DIAGNOSTICS = ROOT / "diagnostics"
PAGE = REPOSITORY / "docs" / "architecture.md"

LAYERS = {  # from the top
    "python -m ppl_vae": "__main__",
    "command line": "cli",
    "loggers": "callbacks",
    "pages of runs": "pages",
    "plots": "plots",
    "manifold learning": "manifold",
    "diagnostics, estimators": "diagnostics sklearn",
    "training, evaluation": "training evaluation",
    "models, objectives": "vae objectives",
    "leaves": "likelihoods posteriors priors",
    "adaptive proposals": "adaptive",
    "unconstrained, units": "unconstrained raw_units",
    "draws from q": "draws",
    "data plates": "find_plates masked observed site_values",
    "data sets": "data",
    "casting of data": "casting",
    "splits, enumeration": "split enumeration summed",
    "traces, weights, calls": "traces importance calls checksums compiled replayed",
    "graphs of constants": "folded",
    "conditionals, graphs": "conditional nets distributions domain corruptions codebook captured",
    "kernels of a GPU, sites": "recorded one_way paired",
    "shared by all": "arguments bounds files group isolation latent_draws precision rows support tensors _torchvision",
    "verbs, libraries": "modelled libraries assumed known factories memory transform ascent products progress onednn",
    "alone": "bare_support strict_yaml up_to",
}
ROOMS = ["diagnose", "report", "evidence guide latents", "model posterior", "results", "diagnostic session"]
"""Of `ppl_vae.diagnostics`, from the top."""


def floors(names: list[str]) -> dict[str, int]:
    """The floor of each name, counted from the lowest."""
    return {name: floor for floor, line in enumerate(reversed(names)) for name in line.split()}


LAYER = floors(list(LAYERS.values()))
ROOM = floors(ROOMS)
FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]
TEXTS = {file: file.read_text() for file in FILES}
TREES = {file: ast.parse(text) for file, text in TEXTS.items()}


def part(file: Path) -> str:
    """The part of the package that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def room(file: Path) -> str:
    """The room of `diagnostics` that a file belongs to; empty for other files and for `diagnostics/__init__.py`."""
    if not file.is_relative_to(DIAGNOSTICS) or file == DIAGNOSTICS / "__init__.py":
        return ""
    return file.relative_to(DIAGNOSTICS).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a file imports, wherever in it; no name where the module is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def parts_imported(file: Path) -> set[str]:
    """The other parts of the package that a file imports."""
    names = {f"{module}.{name}".split(".")[1] for module, name in imported(TREES[file]) if module.startswith("ppl_vae")}
    return names & set(map(part, FILES)) - {part(file)}


def rooms_imported(file: Path) -> Iterator[tuple[str, str, str]]:
    """What a file imports from rooms of `diagnostics` that it does not lie in: the room, the module, the name."""
    for module, name in imported(TREES[file]):
        if module.startswith("ppl_vae.diagnostics.") or (module == "ppl_vae.diagnostics" and room(file)):
            other = f"{module}.{name}".split(".")[2]
            if other != room(file):
                yield other, module, name


def arrows() -> dict[str, set[str]]:
    """For each room the rooms that it imports from."""
    found: dict[str, set[str]] = {name: set() for name in ROOM}
    for file in FILES:
        if own := room(file):
            found[own] |= {other for other, _, _ in rooms_imported(file)}
    return found


def layers_drawn() -> str:
    """The layers, as text."""
    width = max(map(len, LAYERS))
    return "\n".join(f"{about:{width}}   {'  '.join(names.split())}" for about, names in LAYERS.items())


def rooms_drawn() -> str:
    """The rooms and their arrows, as text."""
    width = max(map(len, ROOM))
    down = {own: " ".join(sorted(others, key=lambda other: (-ROOM[other], other))) for own, others in arrows().items()}
    return "\n".join(
        f"{own:{width}} -> {down[own]}" if down[own] else own for line in ROOMS for own in sorted(line.split())
    )


def blocks() -> dict[str, str]:
    """The blocks of the architecture page, by name."""
    return {"layers": layers_drawn(), "rooms": rooms_drawn()}


def written(page: str, drawn: Mapping[str, str]) -> str:
    """The page with its blocks replaced."""
    for name, text in drawn.items():
        fence = f"<!-- {name} -->\n```text\n"
        before, after = page.split(fence)
        page = f"{before}{fence}{text}\n```{after.partition('```')[2]}"
    return page


QUIET = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(file: Path) -> set[int]:
    """Numbers of the lines that hold code: no docstring, no comment, not blank."""
    tokens = tokenize.generate_tokens(io.StringIO(TEXTS[file]).readline)
    lines = {n for t in tokens if t.type not in QUIET for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def functions() -> dict[str, int]:
    """Lines of code of every function, its signature included."""
    found = {}
    for file in FILES:
        lines = code_lines(file)
        for node in ast.walk(TREES[file]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own = len(lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
                found[f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"] = own
    return found


def cloned(window: int = 10) -> float:
    """Share of the lines of code that lie in a window of so many lines that occurs more than once."""
    texts = {file: [TEXTS[file].splitlines()[n - 1].strip() for n in sorted(code_lines(file))] for file in FILES}
    windows = {file: [tuple(t[i : i + window]) for i in range(len(t) - window + 1)] for file, t in texts.items()}
    counts = Counter(one for several in windows.values() for one in several)
    inside = sum(
        len({n for i, one in enumerate(several) if counts[one] > 1 for n in range(i, i + window)})
        for several in windows.values()
    )
    return inside / sum(map(len, texts.values()))


def figures() -> dict[str, float | str]:
    """The figures of the structure."""
    lengths = {str(file.relative_to(ROOT)): len(text.splitlines()) for file, text in TEXTS.items()}
    of_functions = functions()
    longest_file, longest_function = (max(of, key=of.__getitem__) for of in (lengths, of_functions))
    return {
        "rooms of diagnostics": len(ROOM),
        "arrows between them": sum(map(len, arrows().values())),
        "median length of a file": median(lengths.values()),
        "longest file": lengths[longest_file],
        "  which is": longest_file,
        "median lines of code of a function": median(of_functions.values()),
        "longest function": of_functions[longest_function],
        "  that is": longest_function,
        "functions above 40 lines": sum(length > 40 for length in of_functions.values()),
        "lines in cloned windows of 10, %": round(100 * cloned(), 2),
    }


def main() -> None:
    """Print the figures, or rewrite the blocks of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="rewrite the blocks of the page")
    if parser.parse_args().write:
        PAGE.write_text(written(PAGE.read_text(), blocks()))
        return
    for name, value in figures().items():
        print(f"{name:36} {value}")
    for name, length in sorted(functions().items(), key=lambda item: -item[1]):
        if length > 40:
            print(f"above 40 lines: {length} {name}")


if __name__ == "__main__":
    main()
