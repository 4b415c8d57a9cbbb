"""Draws who imports whom into architecture.md, from the imports: `.venv/bin/python docs/discussion/rooms.py`."""

import ast
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import grimp
from grimp import ImportGraph

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- Made by docs/discussion/rooms.py from the imports. -->\n", "<!-- End of what is made. -->\n"
OPENED = "bridge"
"""The room that is drawn with the rooms inside it."""


def rooms() -> ImportGraph:
    """Return the import graph of all rooms."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return grimp.build_graph(*project["tool"]["importlinter"]["root_packages"], cache_dir=None)


def imports(graph: ImportGraph) -> set[tuple[str, str]]:
    """Return each pair of rooms of which the first imports the second."""
    arrows = {
        (room(module), room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(one, other) for one, other in arrows if one != other}


def room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == OPENED else 1])


def reduced(arrows: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave out each arrow that a way over other rooms says already."""
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)
    return {
        (one, other)
        for one, others in below.items()
        for other in others
        if not any(other in reached(below, between) for between in others - {other})
    }


def reached(below: dict[str, set[str]], start: str) -> set[str]:
    """Return the rooms that a room needs, directly or by another."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for each in below.get(ahead.pop(), set()) - found:
            found.add(each)
            ahead.append(each)
    return found


def purpose(name: str) -> str:
    """Return a room's own first sentence."""
    path = ROOT.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py", path / "main.py")
    source = next(file for file in files if file.exists()).read_text(encoding="utf-8")
    sentence = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].replace("\n", " ")
    return sentence.split(". ")[0].split(";")[0].rstrip(".").replace("`", "")


def drawing() -> str:
    """Return the diagram in Mermaid's language."""
    graph = rooms()
    arrows = reduced(imports(graph))
    names = sorted({room(module) for module in graph.modules} - {OPENED})
    inside = [name for name in names if name.startswith(f"{OPENED}.")]
    lines = ["flowchart TD", *(node(name) for name in names if name not in inside)]
    lines += [f"    subgraph {OPENED}", *(f"    {node(name)}" for name in inside), "    end"]
    lines += [f"    {one} --> {other}" for one, other in sorted(arrows)]
    return "\n".join(["```mermaid", *lines, "```", ""])


def node(name: str) -> str:
    return f'    {name}["<b>{name.rpartition(".")[2]}</b><br>{purpose(name)}"]'


def with_drawing(page: str) -> str:
    """Return the page with the diagram as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + drawing() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_drawing(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
