"""The list of runs, newest first."""

from collections.abc import Sequence
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from bridge.page.rendering import Piece, render
from bridge.page.views.views import Parts, View, Visitor
from bridge.store.timeline import Filter, Glance

RUNS_A_PAGE = 50
STATES = ("running", "undecided", "suspended", "finished", "failed", "cancelled")
_LONGEST = 200
_MOST_PAGES = 10_000


def runs_view(parts: Parts, visitor: Visitor, arguments: MultiDict[str, str]) -> View:
    """Return the runs that `arguments` (app, state, tool, text, page) ask for."""
    asked = _filter(arguments, content=parts.config.log_content)
    number = _page_number(arguments)

    def pieces() -> Sequence[Piece]:
        glances = parts.timeline.runs(asked, RUNS_A_PAGE + 1, (number - 1) * RUNS_A_PAGE)
        more = len(glances) > RUNS_A_PAGE
        glances = glances[:RUNS_A_PAGE]
        titles = _titles(parts, glances) if parts.config.log_content else {}
        lines = [
            Piece(f"run-{run.id}", render("runs_line.html", visitor.t, run=run, title=titles.get(run.id, "")))
            for run in glances
        ]
        pager = render(
            "runs_pager.html",
            visitor.t,
            number=number,
            newer=_address(asked, number - 1) if number > 1 else "",
            older=_address(asked, number + 1) if more else "",
            empty=not glances,
            filtered=asked != Filter(content=asked.content),
        )
        return [*lines, Piece("@pager", pager)]

    models = list(dict.fromkeys([*(app.model for app in parts.config.apps), *filter(None, parts.timeline.models())]))
    values = {"asked": asked, "models": models, "states": STATES, "content": parts.config.log_content}
    # To look for a text costs too much to do it again and again: what was found stays as it was.
    follows = not asked.text
    return View("runs", visitor.t("runs.title"), parts.timeline.newest, pieces, values, follows, follows)


def _filter(arguments: MultiDict[str, str], *, content: bool) -> Filter:
    given = {name: arguments.get(name, "").strip()[:_LONGEST] for name in ("app", "state", "tool", "text")}
    given["state"] = given["state"] if given["state"] in STATES else ""
    return Filter(**given, content=content)


def _page_number(arguments: MultiDict[str, str]) -> int:
    text = arguments.get("page", "1")
    return min(max(int(text), 1), _MOST_PAGES) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _address(asked: Filter, number: int) -> str:
    given = {"app": asked.app, "state": asked.state, "tool": asked.tool, "text": asked.text}
    kept = {name: value for name, value in given.items() if value}
    return "/?" + urlencode(kept | {"page": str(number)})


def _titles(parts: Parts, glances: Sequence[Glance]) -> dict[str, str]:
    unread = [run.id for run in glances if parts.requests.known(run.id, run.attempt) is None]
    texts = parts.timeline.requests(unread) if unread else {}
    titles = {}
    for run in glances:
        known = parts.requests.known(run.id, run.attempt)
        if known is None and run.id in texts:
            known = parts.requests.read(run.id, run.attempt, texts[run.id])
        titles[run.id] = known.title if known else ""
    return titles
