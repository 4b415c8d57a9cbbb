"""How modules of a checkout become modules of the wheel. `scripts/check-package` installs one and uses it."""

import ast
import importlib.util
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import clawback
import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
KNOWN = {"bridge", "bridge.runs", "bridge.page", "bridge.page.views", "tools", "tools.ids"}


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "scripts/wheel/rooms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rooms = loaded()


@pytest.mark.parametrize(
    ("written", "installed"),
    [
        ("from bridge.runs import Runs", "from clawback.bridge.runs import Runs"),
        ("from  bridge  import runs as r, page", "from  clawback.bridge  import runs as r, page"),
        ("import bridge.page.views as v", "import clawback.bridge.page.views as v"),
        ("import tools", "import clawback.tools as tools"),
        ("import json, tools as t, os", "import json, clawback.tools as t, os"),
        ("x = 'ü'; from tools import ids", "x = 'ü'; from clawback.tools import ids"),
        (
            "from bridge.runs import (\n    Runs,\n    bridge,\n)",
            "from clawback.bridge.runs import (\n    Runs,\n    bridge,\n)",
        ),
        ("def f():\n    'ä'\n    from tools.ids import x", "def f():\n    'ä'\n    from clawback.tools.ids import x"),
        (
            "if 'é': from bridge import runs; import tools",
            "if 'é': from clawback.bridge import runs; import clawback.tools as tools",
        ),
    ],
)
def test_imports_of_our_rooms_move_below_the_package(written: str, installed: str) -> None:
    assert rooms.below(written, KNOWN) == installed
    ast.parse(installed)


@pytest.mark.parametrize(
    "written",
    [
        "from json import tools",
        "from . import bridge",
        "from .tools import ids",
        "import bridges, toolset.tools",
        "bridge = tools.ids",
        "'from bridge.runs import Runs'",
        "# from bridge.runs import Runs\n",
        "'''\nimport tools\n'''",
        "a = 'tools', 'bridge', 'bridge.sqlite3', 'see tools.ids'",
        "x = '\x0c\u2028'\nfrom __future__ import annotations\n",
    ],
)
def test_everything_else_stays_as_it_is(written: str) -> None:
    assert rooms.below(written, KNOWN) == written


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("\nname = 'bridge.runs'", "line 2: take 'bridge.runs' from __package__"),
        ("worker = 'bridge.page.views.Worker'", "take 'bridge.page.views.Worker' from __package__"),
        ("import tools.ids", "instead of `import tools.ids`"),
        ("from \\\n  tools import ids", "line 1: write the import on one line"),
    ],
)
def test_what_would_go_on_meaning_the_checkout_is_refused(written: str, said: str) -> None:
    with pytest.raises(rooms.RoomsError, match=said.replace("\\", "").replace("(", r"\(")):
        rooms.below(written, KNOWN)


def test_every_module_of_ours_can_be_put_into_the_wheel() -> None:
    names = WHEEL["hooks"]["custom"]["rooms"]
    known = rooms.modules(ROOT, names)
    assert {"bridge.cli", "demo.box", "provider.models.llm.llm", "tools.openclaw_text"} <= known
    for path in (each for name in names for each in (ROOT / name).rglob("*.py")):
        put = rooms.below(path.read_text(encoding="utf-8"), known)
        left = {
            node.module
            for node in ast.walk(ast.parse(put))
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in names
        }
        assert not left, path


def test_a_tool_is_the_same_by_either_name_in_a_checkout() -> None:
    assert clawback.tool is import_module("bridge.executors").tool
    assert not hasattr(clawback, "something_else")
