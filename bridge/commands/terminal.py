"""What commands print: nothing that others named or said reaches the terminal other than visibly."""

from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from tools.visible import visible


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """Print a text of one or more lines. `style` is as click.style takes it."""
    click.secho(visible(text, lines=True), err=err, **style)


def plain(text: str) -> str:
    """Return what somebody else named or said, for a place within a line of a `Terminal`: its markup is none."""
    return escape(visible(text))


class Terminal(Console):
    """A console whose texts are all made visible, also those of a table's cells."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Read the markup of a text."""
        return super().render_str(visible(text, lines=True), **options)
