"""What commands print: nothing that others named or said reaches the terminal other than visibly."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from bridge.server.figures import app, short
from tools.visible import visible

_UNCUT = 10_000
_ROOM = 100


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


_WHOLE = {"began", "run", "call", "form", "took", "decide within", "answer within"}
"""Columns of one word or figure, which is not broken into lines."""


def table(*columns: str) -> Table:
    """Return a table without lines."""
    return Table(*(Column(name, no_wrap=name in _WHOLE) for name in columns), box=None)


_COLOURS = {
    "running": "cyan",
    "suspended": "yellow",
    "finished": "green",
    "succeeded": "green",
    "resolved": "green",
    "failed": "red",
    "denied": "red",
    "expired": "red",
    "cancelled": "magenta",
    "awaiting_approval": "yellow",
}


def shown_state(name: str) -> str:
    """Return a state in its colour, in words."""
    colour, text = _COLOURS.get(name), plain(name.replace("_", " "))
    return f"[{colour}]{text}[/{colour}]" if colour else text


def shown_app(run: dict[str, Any]) -> str:
    """Name the app of a run, as the bridge tells of it."""
    return plain(app(run["direction"], run["model"]))


class Terminal(Console):
    """A console whose texts are all made visible, also those of a table's cells.

    What goes to a pipe or a file, and what is to be `wide`, is cut nowhere.
    """

    def __init__(self, *, wide: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if wide or not self.is_terminal:
            self.width = _UNCUT
            self.soft_wrap = True

    def id(self, id_: str) -> str:
        """Return an id whole, or as much of it as commands take where there is little room."""
        return plain(id_ if self.width >= _ROOM else short(id_))

    def render_str(self, text: str, **options: Any) -> Text:
        """Read the markup of a text."""
        return super().render_str(visible(text, lines=True), **options)
