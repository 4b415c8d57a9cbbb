"""What waits for a person."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.page.rendering import Piece, render
from bridge.page.views.asked import description
from bridge.page.views.views import Mark, Parts, View, Visitor
from bridge.store.timeline import Undecided

CALLS_A_PAGE = 50
DONE = frozenset({"approve", "edit", "deny"})


@dataclass(frozen=True, slots=True)
class Tried:
    """A decision that could not be carried out: what was written, and what is wrong with it."""

    call_id: str
    decision: str
    text: str
    problem: str


def approvals_view(parts: Parts, visitor: Visitor, tried: Tried | None = None, done: str = "") -> View:
    """Return the page of the calls that wait; `tried` comes back to the one who wrote it, and `done` is confirmed."""

    def mark() -> Mark:
        return tuple(parts.timeline.undecided_ids(CALLS_A_PAGE))

    def pieces() -> Sequence[Piece]:
        waiting = parts.timeline.undecided(parts.timeline.undecided_ids(CALLS_A_PAGE))
        cards = [Piece(f"call-{each.call.id}", _card(parts, visitor, each, tried)) for each in waiting]
        rest = parts.timeline.count_undecided() - len(waiting)
        gone = tried if tried and all(each.call.id != tried.call_id for each in waiting) else None
        foot = render("approvals_foot.html", visitor.t, empty=not waiting, rest=max(0, rest))
        head = render("approvals_head.html", visitor.t, done=done if done in DONE else "", gone=gone)
        return [Piece("@head", head), *cards, Piece("@foot", foot)]

    # What somebody has written, and what is wrong with it, stays until they send it again.
    follows = tried is None
    return View("approvals", visitor.t("approvals.title"), mark, pieces, refreshes=not mark(), follows=follows)


def _card(parts: Parts, visitor: Visitor, waiting: Undecided, tried: Tried | None) -> str:
    asked = parts.requests.read(waiting.run.id, waiting.run.attempt, waiting.run.request)
    return render(
        "approval.html",
        visitor.t,
        call=waiting.call,
        run=waiting.run,
        asked_at=waiting.asked_at,
        description=description(asked.tools.get(waiting.call.name)),
        login=visitor.login,
        back="/approvals",
        tried=tried if tried and tried.call_id == waiting.call.id else None,
    )
