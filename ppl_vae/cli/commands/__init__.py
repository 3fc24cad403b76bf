"""The commands, a file each: to add one, write its record `COMMAND` and list it here."""

from ppl_vae.cli.command import Command
from ppl_vae.cli.commands import (
    compare,
    completion,
    demo,
    diagnose,
    encode,
    evaluate,
    export,
    fit_prior,
    impute,
    manifold,
    reconstruct,
    report,
    sample,
    score,
    table,
    train,
)
from ppl_vae.cli.commands import (
    list as list_,
)

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Command] = {
    module.COMMAND.name: module.COMMAND
    for module in (
        train,
        evaluate,
        diagnose,
        sample,
        encode,
        reconstruct,
        impute,
        score,
        export,
        fit_prior,
        compare,
        table,
        report,
        demo,
        manifold,
        list_,
        completion,
    )
}
"""By name, in the order of the overview."""
