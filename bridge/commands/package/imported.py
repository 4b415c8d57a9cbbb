"""Which modules a program imports, from its sources: also where it does so late, inside a function."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def imported(root: Path, sources: Iterable[Path]) -> set[Path]:
    """Return the files under `root` that `sources` import, and what those import, with the packages they are in."""
    found: set[Path] = set()
    left = list(sources)
    while left:
        for name in _names(left.pop()):
            for path in _files(root, name):
                if path not in found:
                    found.add(path)
                    left.append(path)
    return found


def _names(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, name: str) -> Iterator[Path]:
    """Yield the file of a module and those of the packages around it; the last part may be a name in the module."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        module = root.joinpath(*parts[:depth])
        yield from (path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file())
