"""The chatflow as a picture: what ran, in which order, and what an export knows besides."""

import html
import os
import re
from pathlib import Path

import pytest
import yaml

from bridge.page.views.graph import MOST_NODES, exported_flow, picture_of
from bridge.page.views.waterfall import Lane, Part
from bridge.store.rows import NodeRow
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def node(name: str, at: float, until: float | None, attempt: int = 1) -> Lane:
    status = "running" if until is None else "succeeded"
    rest = {"error": None, "retries": 0, "total_tokens": 0, "price": "", "currency": ""}
    row = NodeRow(
        id=int(at * 10),
        run_id="r",
        attempt=attempt,
        execution_id=f"e-{name}-{at}",
        title=name,
        node_type="code",
        status=status,
        started_at=at,
        ended_at=until,
        node_id=name,
        **rest,  # type: ignore[arg-type]
    )
    return Lane(f"node-{row.id}", "node", 0, (Part("node", at, until),), "busy" if until is None else "good", node=row)


def titles(lanes: list[Lane], export: Path | None = None) -> dict[str, str]:
    picture = picture_of(lanes, export)
    assert picture
    return {drawn.node.title: drawn.state for drawn in picture.nodes}


def test_without_an_export_nodes_stand_in_the_order_in_which_they_ran() -> None:
    # Two side by side, between one before them and one after.
    lanes = [node("a", 1, 2), node("b", 2, 4), node("c", 2.5, 3), node("d", 4, None)]
    picture = picture_of(lanes, None)
    assert picture
    assert picture.guessed
    x = {drawn.node.id: drawn.x for drawn in picture.nodes}
    y = {drawn.node.id: drawn.y for drawn in picture.nodes}
    assert x["a"] < x["b"] == x["c"] < x["d"]
    assert y["b"] != y["c"]
    assert len(picture.edges) == 4
    assert titles(lanes) == {"a": "good", "b": "good", "c": "good", "d": "busy"}


def test_a_node_in_a_loop_is_drawn_once_as_it_stands_now() -> None:
    assert titles([node("a", 1, 2), node("a", 3, 4), node("a", 5, None)]) == {"a": "busy"}


def test_only_the_newest_attempt_is_drawn() -> None:
    assert titles([node("a", 1, 2), node("b", 2, 3), node("a", 4, None, attempt=2)]) == {"a": "busy"}


def test_an_export_shows_the_branch_that_was_not_taken() -> None:
    export = EXAMPLES / "router.yml"
    flow = exported_flow(export)
    assert flow
    first, second = flow.nodes[0], flow.nodes[1]
    picture = picture_of([node(first.id, 1, 2), node(second.id, 2, None)], export)
    assert picture
    assert not picture.guessed
    assert len(picture.nodes) == len(flow.nodes)
    assert sum(taken for _, taken in picture.edges) == 1
    assert {drawn.node.id for drawn in picture.nodes if drawn.state} == {first.id, second.id}


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "workflow: 1", "workflow: {graph: {nodes: [1], edges: []}}", "a: [", "workflow: {graph: 2}", "\0"],
)
def test_an_export_that_is_none_costs_the_picture_nothing_but_its_edges(tmp_path: Path, text: str) -> None:
    path = tmp_path / "app.yml"
    assert exported_flow(path) is None
    path.write_text(text)
    assert exported_flow(path) is None
    assert titles([node("a", 1, None)], path) == {"a": "busy"}


def test_an_export_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    for number, name in enumerate(("one", "two")):
        nodes = [{"id": "1", "data": {"title": name, "type": "llm"}}]
        path.write_text(
            yaml.safe_dump({"workflow": {"graph": {"nodes": nodes, "edges": [{"source": 1, "target": 9}]}}})
        )
        os.utime(path, (number + 1, number + 1))
        assert titles([], path) == {name: ""}


def test_far_too_many_nodes_are_not_drawn() -> None:
    assert picture_of([node(f"n{number}", number, number + 1) for number in range(MOST_NODES + 1)], None) is None
    assert picture_of([], None) is None


def test_a_title_is_text_and_fits(ann: Person) -> None:
    bridge: Bridge = ann.bridge
    bridge.register()
    run = str(bridge.attach()["run_id"])
    title = "<script>\u202e" + "很长" * 30
    bridge.store.nodes.started(run, 1, "e1", title, "llm", "n1")
    page = ann.get(f"/runs/{run}").text
    assert "<script>\\u202e" not in page
    assert "\u202e" not in page
    [shown] = re.findall(r'<text x="10" y="18">([^<]*)</text>', page)
    assert html.unescape(shown).startswith("<script>")
    assert shown.endswith("…")
