"""The picture of the rooms is made of the imports."""

import runpy
from pathlib import Path
from typing import Any

DISCUSSION = Path(__file__).resolve().parents[2] / "docs" / "discussion"
MADE: dict[str, Any] = runpy.run_path(str(DISCUSSION / "rooms.py"))


def test_the_picture_is_what_the_imports_make_of_it() -> None:
    written = (DISCUSSION / "architecture.md").read_text(encoding="utf-8")
    assert written == MADE["with_drawing"](written), "run .venv/bin/python docs/discussion/rooms.py"


def test_an_arrow_that_a_longer_way_says_is_left_out_and_no_other() -> None:
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("d", "c"), ("c", "e"), ("a", "e")}
    assert MADE["reduced"](arrows) == arrows - {("a", "c"), ("a", "e")}


def test_no_arrow_leads_back() -> None:
    arrows: set[tuple[str, str]] = MADE["imports"](MADE["rooms"]())
    below: dict[str, set[str]] = {}
    for one, other in arrows:
        below.setdefault(one, set()).add(other)
    assert [room for room in below if room in MADE["reached"](below, room)] == []
    assert ("bridge.app", "bridge.page") in arrows
