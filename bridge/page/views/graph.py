"""The chatflow as a picture: its nodes, their edges, and which way a run has taken.

The nodes and edges are those of the app's export where the configuration names one (`apps.export`). Dify's events tell
of no edges: without an export, a node comes after those that had ended, and not been followed yet, when it began.
"""

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bridge.page.views.waterfall import Lane
from bridge.store.rows import NodeRow
from tools.visible import visible

log = logging.getLogger("clawback.page")

WIDTH, HEIGHT = 148, 44
ACROSS, DOWN = 44, 18
MOST_NODES = 300
LARGEST_EXPORT = 4 * 1024 * 1024
_COLUMNS = 17
"""How much of a title fits, in the width of a Latin letter."""


@dataclass(frozen=True, slots=True)
class Known:
    """A node as the app's export or Dify's events name it."""

    id: str
    title: str
    type: str


@dataclass(frozen=True, slots=True)
class Flow:
    """An app's nodes and edges."""

    nodes: tuple[Known, ...]
    edges: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A node in its place. `state` is busy, waiting, good, bad, left, or empty where it has not been reached."""

    node: Known
    x: float
    y: float
    state: str
    lane: str
    calls: int

    @property
    def short(self) -> str:
        """The title as far as there is room for it."""
        return _cut(self.node.title)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn. `edges` are paths, and whether the run went there; `guessed` says that nobody told of them."""

    width: float
    height: float
    nodes: Sequence[Drawn]
    edges: Sequence[tuple[str, bool]]
    guessed: bool


def picture_of(lanes: Sequence[Lane], export: Path | None) -> Picture | None:
    """Return the picture of a run by its waterfall; None where no node is known, or far too many are."""
    attempt = max((lane.node.attempt for lane in lanes if lane.node), default=0)
    ran = _ran(lanes, attempt)
    exported = exported_flow(export) if export else None
    nodes = [lane.node for lane, _, _ in ran.values() if lane.node]
    flow = exported or Flow(tuple(map(_known, nodes)), _followed(nodes))
    if not 0 < len(flow.nodes) <= MOST_NODES:
        return None
    places = _placed(tuple(node.id for node in flow.nodes), flow.edges)
    drawn = []
    for node in flow.nodes:
        x, y = places[node.id]
        lane, state, calls = ran.get(node.id, (None, "", 0))
        drawn.append(Drawn(node, x, y, state, f"lane-{lane.key}" if lane else "", calls))
    edges = [(_path(places[one], places[other]), one in ran and other in ran) for one, other in flow.edges]
    width = max(x for x, _ in places.values()) + WIDTH + 2
    height = max(y for _, y in places.values()) + HEIGHT + 2
    return Picture(width, height, drawn, edges, exported is None)


def _ran(lanes: Sequence[Lane], attempt: int) -> dict[str, tuple[Lane, str, int]]:
    """Return the last execution of each node in this attempt, how it stands, and how many calls it made."""
    ran: dict[str, tuple[Lane, str, int]] = {}
    at = ""
    for lane in lanes:
        if lane.node:
            at = _id(lane.node) if lane.node.attempt == attempt else ""
            if at:
                ran[at] = (lane, lane.tone, 0)
        elif lane.depth == 0:
            at = ""
        elif at and lane.call:
            own, state, calls = ran[at]
            ran[at] = (own, "waiting" if lane.tone == "waiting" and own.until is None else state, calls + 1)
    return ran


def _id(node: NodeRow) -> str:
    return node.node_id or node.execution_id


def _known(node: NodeRow) -> Known:
    return Known(_id(node), visible(node.title), node.node_type)


def _followed(nodes: Sequence[NodeRow]) -> tuple[tuple[str, str], ...]:
    edges = []
    for node in nodes:
        ended = [each for each in nodes if each.ended_at is not None and each.ended_at <= node.started_at]
        ended = [each for each in ended if each is not node]
        latest = max((each.started_at for each in ended), default=0.0)
        edges += [(_id(each), _id(node)) for each in ended if (each.ended_at or 0.0) > latest or each is ended[-1]]
    return tuple(dict.fromkeys(edges))


# What an app's export says


def exported_flow(path: Path) -> Flow | None:
    """Return the nodes and edges of an export; None, and a line in the log, where it cannot be read."""
    try:
        found = path.stat()
        return _read(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        log.warning("an app's export cannot be read", extra={"path": str(path), "error": error.strerror})
        return None


@lru_cache(maxsize=32)
def _read(path: Path, _changed: int, size: int) -> Flow | None:
    import yaml

    try:
        if size > LARGEST_EXPORT:
            raise ValueError(f"it has more than {LARGEST_EXPORT} bytes")
        graph = yaml.safe_load(path.read_text(encoding="utf-8"))["workflow"]["graph"]
        nodes = tuple(_exported(node) for node in graph["nodes"] if node.get("type") != "custom-note")
        known = {node.id for node in nodes}
        edges = ((str(edge["source"]), str(edge["target"])) for edge in graph["edges"])
        return Flow(nodes, tuple(dict.fromkeys(edge for edge in edges if known.issuperset(edge))))
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("an app's export is no chatflow's or workflow's", extra={"path": str(path), "error": str(error)})
        return None


def _exported(node: Mapping[str, Any]) -> Known:
    data = node["data"]
    return Known(str(node["id"]), visible(str(data.get("title", ""))), str(data.get("type", "")))


# Where everything stands


class _Box:
    # From top to bottom is what the library knows: width and height change places, and so do the axes.
    w, h = HEIGHT, WIDTH

    def __init__(self) -> None:
        self.xy = (0.0, 0.0)


@lru_cache(maxsize=256)
def _placed(ids: tuple[str, ...], edges: tuple[tuple[str, str], ...]) -> Mapping[str, tuple[float, float]]:
    """Return the upper left corner of each node."""
    # Here, since a bridge whose page nobody looks at needs neither.
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout

    vertices = {each: Vertex(each) for each in ids}
    for vertex in vertices.values():
        vertex.view = _Box()
    graph = Graph(list(vertices.values()), [Edge(vertices[one], vertices[other]) for one, other in edges])
    places: dict[str, tuple[float, float]] = {}
    below = 2.0
    for component in graph.C:
        layout = SugiyamaLayout(component)
        layout.xspace, layout.yspace = DOWN, ACROSS
        layout.init_all()
        layout.draw()
        found = {vertex.data: vertex.view.xy for vertex in component.sV}
        left, top = min(y for _, y in found.values()), min(x for x, _ in found.values())
        places |= {each: (round(y - left + 2, 1), round(x - top + below, 1)) for each, (x, y) in found.items()}
        below += max(x for x, _ in found.values()) - top + HEIGHT + DOWN
    return places


def _path(one: tuple[float, float], other: tuple[float, float]) -> str:
    x, y, end, height = one[0] + WIDTH, one[1] + HEIGHT / 2, other[0], other[1] + HEIGHT / 2
    bend = max(ACROSS / 2, (end - x) / 2)
    return f"M{x:g} {y:g}C{x + bend:g} {y:g} {end - bend:g} {height:g} {end:g} {height:g}"


def _cut(title: str) -> str:
    room = _COLUMNS
    for number, character in enumerate(title):
        room -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if room < 0:
            return f"{title[: max(0, number - 1)]}…"
    return title
