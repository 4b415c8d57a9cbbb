"""Every command that a page tells to run is there, with its options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bridge.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_INLINE = re.compile(r"`((?:sudo )?clawback [^`\n]+)`")
_IN_BLOCK = re.compile(r"^\s*(?:\$ |sudo )?(clawback [^#\n|&;>]+)", re.MULTILINE)
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)


def told(page: str) -> Iterator[str]:
    """Yield the command lines of a page."""
    yield from _INLINE.findall(page)
    for block in _BLOCK.finditer(page):
        text = (block[1] or block[2]).replace("\\\n", " ")
        yield from _IN_BLOCK.findall(text)


def problem(line: str) -> str | None:
    """Return what of a command line the program does not have."""
    words = shlex.split(line.replace("...", "").rstrip(":\\"), comments=True)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        found = command.get_command(context, words[0])
        if found is None:
            return f"{command.name} has no {words[0]}"
        command, words = found, words[1:]
    known = {
        option for each in command.get_params(click.Context(command)) for option in (*each.opts, *each.secondary_opts)
    }
    before = words[: words.index("--")] if "--" in words else words
    options = {word.partition("=")[0] for word in before if re.match(r"--[a-z]", word)}
    return f"{command.name} has no {', '.join(sorted(options - known))}" if options - known else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_is_there(page: Path) -> None:
    assert not [f"{line}: {why}" for line in told(page.read_text()) if (why := problem(line))]


def test_what_is_not_there_is_noticed() -> None:
    assert problem("clawback nothing")
    assert problem("clawback serve --nothing")
    assert problem("clawback executor python tools") is None
    assert sum(len(list(told(page.read_text()))) for page in PAGES) > 100
