"""What can be chosen, and what goes together."""

from __future__ import annotations

from collections.abc import Mapping

from jsonargparse import Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json

__all__ = ["COMMAND"]


def _options(parser: Parser) -> None:
    about = "which prior goes with which posterior and objective, and why others do not"
    add_json(parser)
    parser.option("--compatible", type=bool, default=False, help=about)


def _list(options: Namespace) -> None:
    """Print the parts, or what goes together."""
    from ppl_vae.training import combinations

    with as_json(options.json) as values:
        if options.compatible and options.json:
            values["combinations"] = [_named(*one) for one in combinations.reasons()]
        elif options.compatible:
            print("\n".join(_compatible()))
        else:
            values.update({role: combinations.described(role) for role in combinations.ROLES})
            _print(values)


def _named(prior: type, posterior: type, objective: type | None, why: str) -> dict[str, str | None]:
    """A combination as plain values; `why` is empty where it goes together."""
    name = None if objective is None else objective.__name__
    return {"prior": prior.__name__, "posterior": posterior.__name__, "objective": name, "why_not": why}


def _print(parts: Mapping[str, Mapping[str, str]]) -> None:
    for role, found in parts.items():
        print(f"{role}:")
        width = max(map(len, found)) + 2
        for name, what in found.items():
            print(f"  {name:<{width}}{what}")


def _compatible() -> list[str]:
    """Lines, of each prior and then of each objective; likelihoods go with all of them, for data of their kinds."""
    from ppl_vae.training import combinations

    with_prior: dict[str, dict[str, list[str]]] = {}
    with_objective: dict[str, dict[str, list[str]]] = {}
    for prior, posterior, objective, why in combinations.reasons():
        table, first, second = (
            (with_prior, prior.__name__, posterior.__name__)
            if objective is None
            else (with_objective, objective.__name__, f"{prior.__name__} with {posterior.__name__}")
        )
        table.setdefault(first, {}).setdefault(why, []).append(second)
    of_levels = [c.__name__ for c in combinations.leaves("posteriors") if c.of_levels]  # type: ignore[attr-defined]
    lines = [
        f"priors, each with posteriors ({' and '.join(of_levels)} of two levels, the others of one):",
        *_lines(with_prior),
        "",
        "objectives, each with pairs of these:",
    ]
    lines += [*_lines(with_objective, shown=False), "", "likelihoods, each for data of these kinds, with all of these:"]
    kinds = {c.__name__: c.kinds for c in combinations.leaves("likelihoods")}  # type: ignore[attr-defined]
    return [*lines, *(f"  {name}: {', '.join(of)}" for name, of in kinds.items())]


def _lines(table: dict[str, dict[str, list[str]]], shown: bool = True) -> list[str]:
    """Lines of what goes together, by name or number, and of what does not, with the reasons."""
    lines = []
    for name, by_reason in table.items():
        those = by_reason.get("", [])
        lines.append(f"  {name}: {', '.join(those) if shown and those else len(those)}")
        for why, others in by_reason.items():
            lines += [f"    not {', '.join(others)}: {why}"] if why else []
    return lines


COMMAND = Command(
    name="list",
    about="the parts to choose from, and what goes together",
    parser=_options,
    run=_list,
    after="ppl-vae train --prior.help VampPrior explains one, ppl-vae train --prior VampPrior trains with it",
)
