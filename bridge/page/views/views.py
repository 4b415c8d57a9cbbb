"""What a page is made of: pieces that may change while somebody looks at it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.config import Config
from bridge.page.doctor_run import DoctorRun
from bridge.page.language import Texts
from bridge.page.logins import Login
from bridge.page.rendering import Piece, render
from bridge.page.views.asked import Requests
from bridge.runs.executors.registry import Registry
from bridge.runs.runs import Runs
from bridge.runs.tickets.approvals import Approvals
from bridge.store.timeline import Timeline

Mark = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the bridge that the page looks into."""

    config: Config
    runs: Runs
    registry: Registry
    approvals: Approvals
    timeline: Timeline
    requests: Requests
    doctor: DoctorRun


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, and in which language. `path` is where they are."""

    t: Texts
    login: Login
    path: str


@dataclass(frozen=True, slots=True)
class View:
    """A page. `mark` returns what differs as soon as a piece may differ, and costs little.

    A piece whose key begins with @ has a place of its own in the template; the others are its list, in their order.
    `refreshes` says whether the page may be loaded again and again where there is no script: nobody may be writing.
    `follows` says whether the page tells of changes at all.
    """

    name: str
    title: str
    mark: Callable[[], Mark]
    pieces: Callable[[], Sequence[Piece]]
    values: Mapping[str, object] = field(default_factory=dict)
    refreshes: bool = True
    follows: bool = True


def with_waiting(parts: Parts, visitor: Visitor, view: View) -> View:
    """Return the view with the number of calls that wait for a person, which every page shows."""

    def pieces() -> Sequence[Piece]:
        waiting = parts.timeline.count_undecided()
        return [Piece("@waiting", render("waiting.html", visitor.t, waiting=waiting)), *view.pieces()]

    def mark() -> Mark:
        return (parts.timeline.count_undecided(), *view.mark())

    return replace(view, mark=mark, pieces=pieces)
