"""YAML whose keys are different."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

__all__ = ["check_keys"]


def check_keys(text: str | bytes) -> None:
    """Refuse a mapping that has a key twice, of which YAML's readers keep the last and say nothing.

    Text that is no YAML passes: whoever reads it says so.

    Raises
    ------
    ValueError
        Naming the key and its line.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return
    for node in _below(root, set()):
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                merges = key.tag == "tag:yaml.org,2002:merge"  # of which there may be several
                if isinstance(key, yaml.ScalarNode) and not merges and (key.tag, key.value) in seen:
                    raise ValueError(
                        f"YAML expects each key once, got {key.value!r} again in line {key.start_mark.line + 1}; keep "
                        "one of them"
                    )
                seen.add((key.tag, str(key.value)))


def _below(node: Any, seen: set[int]) -> Iterator[Any]:
    """The nodes below one, each once, as references may lead to it again."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
