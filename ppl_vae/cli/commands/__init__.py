"""The commands, a file each: to add one, write its record `COMMAND` and list it here."""

from ppl_vae.cli.command import Command
from ppl_vae.cli.commands import compare, demo, diagnose, evaluate, fit_prior, manifold, sample, train

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Command] = {
    module.COMMAND.name: module.COMMAND
    for module in (train, evaluate, diagnose, sample, fit_prior, compare, demo, manifold)
}
"""By name, in the order of the overview."""
