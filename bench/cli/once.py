"""Commands that refuse an option given twice where it takes one value, of which click silently takes the last."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from bench.core.errors import UserError

LIST = re.compile(r"with commas|\d,\d")
"""What the help of an option says that takes several values in one text."""


class OnceCommand(TyperCommand):
    """A command each of whose options with one value may be given once; flags may be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words as click does. Raises UserError for an option of one value that is there twice."""
        if not ctx.resilient_parsing:  # a shell that completes has half a command
            _, _, found = self.make_parser(ctx).parse_args(args=[*args])
            for option, count in Counter(found).items():
                if isinstance(option, TyperOption) and count > 1 and not (option.multiple or option.is_flag):
                    raise UserError(
                        f"{option.opts[0]} is given {count} times, and takes one value: the last alone would "
                        f"count; fix: give it once{_listed(option)}"
                    )
        return super().parse_args(ctx, args)


def _listed(option: TyperOption) -> str:
    """Say how several values are given to an option that takes a list, as its help shows."""
    return ", with commas between its values" if LIST.search(option.help or "") else ""


def with_once(app: typer.Typer) -> typer.Typer:
    """Let all commands of an app refuse doubled options."""
    for command in app.registered_commands:
        command.cls = OnceCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_once(group.typer_instance)
    return app
