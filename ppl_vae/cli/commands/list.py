"""What can be chosen, and what goes together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from jsonargparse import Namespace

from ppl_vae.cli.command import Command
from ppl_vae.cli.components import Parser
from ppl_vae.cli.output import add_json, as_json

__all__ = ["COMMAND"]

Pair = tuple[str, str]
Reasons = dict[str, tuple[str, list[Pair]]]
"""Why some priors and posteriors do not go with a thing, and their names; with "" for those that do."""


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

    with_prior: dict[str, Reasons] = {}
    with_objective: dict[str, Reasons] = {}
    for prior, posterior, objective, why in combinations.reasons():
        table, first = (with_prior, prior) if objective is None else (with_objective, objective)
        alike = re.sub(r"\bgot [^;]*", "", why)  # the same for others, of which another is named
        _, pairs = table.setdefault(first.__name__, {}).setdefault(alike, (why, []))
        pairs.append((prior.__name__, posterior.__name__))
    of_levels = [c.__name__ for c in combinations.leaves("posteriors") if getattr(c, "of_levels", False)]
    each = f"{' and '.join(of_levels)} of two levels, the others of one"
    kinds = {c.__name__: c.kinds for c in combinations.leaves("likelihoods")}  # type: ignore[attr-defined]
    return [
        f"priors, each with posteriors ({each}); a reason is that of the first named:",
        *_lines(with_prior, lambda pairs: [posterior for _, posterior in pairs]),
        "",
        "objectives, each with pairs of these (a posterior alone stands for its pairs with all priors):",
        *_lines(with_objective, partial(_by_posterior, partners=_partners(with_prior))),
        "",
        "likelihoods, each for data of these kinds, with all of these:",
        *(f"  {name}: {', '.join(of)}" for name, of in kinds.items()),
    ]


def _partners(with_prior: Mapping[str, Reasons]) -> dict[str, int]:
    """How many priors each posterior goes with."""
    return Counter(posterior for reasons in with_prior.values() for _, posterior in reasons.get("", ("", []))[1])


def _by_posterior(pairs: Sequence[Pair], partners: Mapping[str, int]) -> list[str]:
    """Names of pairs; of a posterior alone where they are all of its pairs."""
    found: dict[str, list[str]] = {}
    for prior, posterior in pairs:
        found.setdefault(posterior, []).append(prior)
    return [p if len(of) == partners[p] else f"{p} (with {', '.join(of)})" for p, of in sorted(found.items())]


def _lines(table: Mapping[str, Reasons], named: Callable[[Sequence[Pair]], list[str]]) -> list[str]:
    """Lines of what goes together, and of what does not, with the reason of the first."""
    lines = []
    for name, by_reason in table.items():
        _, those = by_reason.get("", ("", []))
        lines.append(f"  {name}: {', '.join(named(those)) or 'none'}")
        for why, others in by_reason.values():
            lines += [f"    not {', '.join(named(others))}: {why}"] if why else []
    return lines


COMMAND = Command(
    name="list",
    about="the parts to choose from, and what goes together",
    parser=_options,
    run=_list,
    after="ppl-vae train --prior.help VampPrior explains one, ppl-vae train --prior VampPrior trains with it",
)
