"""Puts our modules below one package: `from bridge.config import App` becomes `from clawback.bridge.config import App`.

In a checkout the rooms stand at its root, and so they do where Dify's daemon runs the plugin. Installed, they would
take the names `tools` and `bridge` away from everybody else.
"""

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

PACKAGE = "clawback"
_FROM = re.compile(rb"from[ \t]+")
_DOTTED = re.compile(r"\w+(?:\.\w+)+")

type Change = tuple[int, int, bytes, bytes]
"""A line, counted from 1, a column in bytes, what stands there, and what is to stand there."""


class RoomsError(Exception):
    """A module cannot be put below the package. The text says which line to write in another way."""


def modules(root: Path, rooms: Collection[str]) -> set[str]:
    """Return the dotted names of all modules and packages of `rooms`, which are folders of `root`."""
    found = set()
    for room in rooms:
        for path in (root / room).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return found


def below(source: str, known: Collection[str]) -> str:
    """Return `source` with its imports of the `known` modules below the package. Raises RoomsError."""
    lines = source.encode().split(b"\n")
    for number, column, old, new in sorted(_changes(ast.parse(source), lines, known), reverse=True):
        line = lines[number - 1]
        if not line.startswith(old, column):
            raise RoomsError(f"line {number}: write the import on one line: {line.decode().strip()}")
        lines[number - 1] = line[:column] + new + line[column + len(old) :]
    return b"\n".join(lines).decode()


def _changes(tree: ast.Module, lines: list[bytes], known: Collection[str]) -> Iterator[Change]:
    rooms = {name.partition(".")[0] for name in known}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if module.partition(".")[0] in rooms:
                start = _FROM.match(lines[node.lineno - 1], node.col_offset)
                yield node.lineno, start.end() if start else node.col_offset, module.encode(), _below(module)
            case ast.Import():
                yield from (_import(name) for name in node.names if name.name.partition(".")[0] in rooms)
            case ast.Constant(value=str(text)) if _DOTTED.fullmatch(text) and _names_module(text, known):
                raise RoomsError(f"line {node.lineno}: take {text!r} from __package__ or from the module's __name__")


def _import(name: ast.alias) -> Change:
    if "." in name.name and not name.asname:
        raise RoomsError(f"line {name.lineno}: write `from ... import ...` instead of `import {name.name}`")
    kept = b"" if name.asname else f" as {name.name}".encode()
    return name.lineno, name.col_offset, name.name.encode(), _below(name.name) + kept


def _below(module: str) -> bytes:
    return f"{PACKAGE}.{module}".encode()


def _names_module(text: str, known: Collection[str]) -> bool:
    """Whether a text names one of our modules, or something in one. A room's own name is a word like any other."""
    parts = text.split(".")
    return any(".".join(parts[:length]) in known for length in range(2, len(parts) + 1))
