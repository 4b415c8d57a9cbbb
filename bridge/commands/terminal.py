"""What commands print: nothing that others named or said reaches the terminal other than visibly."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from tools.visible import visible

_UNCUT = 10_000


def wide_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--wide`."""
    return click.option("--wide", is_flag=True, help="Do not shorten anything, however long the lines become.")(command)


def lang_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--lang`."""
    return click.option(
        "--lang",
        type=click.Choice(("en", "zh-Hans")),
        default=_spoken,
        help="The language of the findings. Default: the terminal's (LC_ALL, LC_MESSAGES, LANG), else English.",
    )(command)


def _spoken() -> str:
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh-Hans" if next(filter(None, named), "").startswith("zh") else "en"


def showable(character: str, instead: str) -> str:
    """Return a character, or what stands for it where the terminal's encoding does not have it."""
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return instead
    return character


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """Print a text of one or more lines. `style` is as click.style takes it."""
    click.secho(visible(text, lines=True), err=err, **style)


def plain(text: str) -> str:
    """Return what somebody else named or said, for a place within a line of a `Terminal`: its markup is none."""
    return escape(visible(text))


class Terminal(Console):
    """A console whose texts are all made visible, also those of a table's cells.

    What goes to a pipe or a file, and what is to be `wide`, is cut nowhere.
    """

    def __init__(self, *, wide: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if wide or not self.is_terminal:
            self.width = _UNCUT
            self.soft_wrap = True

    def render_str(self, text: str, **options: Any) -> Text:
        """Read the markup of a text."""
        return super().render_str(visible(text, lines=True), **options)
