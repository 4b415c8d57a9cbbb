"""Which pages there are, and what each of them is made of."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from bridge.config import Config
from bridge.errors import NotFound
from bridge.page.decisions import narrowest_rule, rule_text
from bridge.page.doctor_run import DoctorRun
from bridge.page.logins import Login
from bridge.page.rendering import Piece, Texts, render
from bridge.page.views.graph import Picture, picture_of
from bridge.page.views.run import (
    Asked,
    Happened,
    RequestSummaries,
    Step,
    Telling,
    description,
    shown_state,
    steps_of,
    totals,
)
from bridge.page.views.waterfall import Lane, Waterfall, waterfall_of
from bridge.runs.core import Core
from bridge.runs.executors.registry import offers_of
from bridge.runs.executors.trials import Trial, original_of
from bridge.runs.forms import form_of
from bridge.runs.segments import text_of
from bridge.server.figures import short
from bridge.store.clock import now
from bridge.store.rows import CallRow, FormRow, ModelCallRow, RunRow
from bridge.store.timeline import DAY_SECONDS, Day, Filter, Glance, Timeline, Undecided
from tools.ticket_states import CallState

log = logging.getLogger("clawback.page")

Mark = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the bridge that the page looks into."""

    config: Config
    core: Core
    timeline: Timeline
    requests: RequestSummaries
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


CALLS_A_PAGE = 50
DONE = frozenset({"approve", "edit", "deny", "always", "answer"})


@dataclass(frozen=True, slots=True)
class Tried:
    """A decision that could not be carried out: what was written, and what is wrong with it.

    It is about a call, or about a form, whose action is the decision and whose fields hold `inputs`.
    """

    call_id: str
    decision: str
    text: str
    problem: str
    inputs: Mapping[str, str] = field(default_factory=dict)


def approvals_view(parts: Parts, visitor: Visitor, tried: Tried | None = None, done: str = "") -> View:
    """Return the page of what waits; `tried` comes back to the one who wrote it, and `done` is confirmed."""

    def mark() -> Mark:
        return (*parts.timeline.undecided_ids(CALLS_A_PAGE), *(row.id for row in parts.core.forms.waiting()))

    def pieces() -> Sequence[Piece]:
        waiting = parts.timeline.undecided(parts.timeline.undecided_ids(CALLS_A_PAGE))
        asked = _asked(parts, (each.run for each in waiting))
        cards = [
            Piece(f"call-{each.call.id}", _card(parts, visitor, asked[each.run.id], each, tried)) for each in waiting
        ]
        forms = parts.core.forms.waiting()[:CALLS_A_PAGE]
        cards += [Piece(f"form-{row.id}", _form_card(parts, visitor, row, tried)) for row in forms]
        rest = parts.timeline.count_undecided() - len(cards)
        shown = {*(each.call.id for each in waiting), *(row.id for row in forms)}
        gone = tried if tried and tried.call_id not in shown else None
        foot = render("approvals_foot.html", visitor.t, empty=not cards, rest=max(0, rest))
        head = render("approvals_head.html", visitor.t, done=done if done in DONE else "", gone=gone)
        return [Piece("@head", head), *cards, Piece("@foot", foot)]

    # What somebody has written, and what is wrong with it, stays until they send it again.
    follows = tried is None
    return View("approvals", visitor.t("approvals.title"), mark, pieces, refreshes=not mark(), follows=follows)


def _card(parts: Parts, visitor: Visitor, asked: Asked, waiting: Undecided, tried: Tried | None) -> str:
    return render(
        "approval.html",
        visitor.t,
        call=waiting.call,
        run=waiting.run,
        asked_at=waiting.asked_at,
        question=asked.title if parts.config.log_content else "",
        description=description(asked.tools.get(waiting.call.name)),
        rule=_rule(parts, waiting.call),
        always=narrowest_rule(waiting.run, waiting.call) if parts.config.policy else None,
        login=visitor.login,
        back="/approvals",
        tried=tried if tried and tried.call_id == waiting.call.id else None,
    )


def _form_card(parts: Parts, visitor: Visitor, row: FormRow, tried: Tried | None) -> str:
    return render(
        "form.html",
        visitor.t,
        row=row,
        form=form_of(row),
        run=parts.core.store.run(row.run_id),
        login=visitor.login,
        tried=tried if tried and tried.call_id == row.id else None,
    )


def _rule(parts: Parts, call: CallRow) -> str:
    return rule_text(parts.core.admission.policy.rule(call.verdict))


def executors_view(parts: Parts, visitor: Visitor) -> View:
    """Return the page of the executors, and of all who have tokens of their own."""
    store, clients = parts.core.store.executors, parts.core.store.clients

    def present() -> set[str]:
        return {executor.id for executor in parts.core.registry.present()}

    def mark() -> Mark:
        known = tuple((each.id, each.tools, each.patterns) for each in store.all())
        own = tuple((each.name, each.used_at, each.expires_at) for each in clients.all())
        return (known, tuple(sorted(present())), tuple(sorted(store.loads().items())), own)

    def pieces() -> Sequence[Piece]:
        here, loads, executors = present(), store.loads(), store.all()
        cards = [
            Piece(
                f"executor-{executor.id}",
                render(
                    "executor.html",
                    visitor.t,
                    executor=executor,
                    present=executor.id in here,
                    load=loads.get(executor.id, 0),
                    patterns=json.loads(executor.patterns),
                    offers=offers_of(executor),
                ),
            )
            for executor in executors
        ]
        foot = render("executors_foot.html", visitor.t, empty=not executors, clients=clients.all())
        return [*cards, Piece("@foot", foot)]

    return View("executors", visitor.t("executors.title"), mark, pieces)


def health_view(parts: Parts, visitor: Visitor) -> View:
    """Return the page of what doctor found when it was asked last."""

    def mark() -> Mark:
        return parts.doctor.mark

    def pieces() -> Sequence[Piece]:
        findings = parts.doctor.findings
        lines = [
            Piece(f"line-{number}", render("health_line.html", visitor.t, line=line))
            for number, line in enumerate(findings.lines)
        ]
        head = render(
            "health_head.html",
            visitor.t,
            findings=findings,
            possible=parts.doctor.possible,
            login=visitor.login,
        )
        return [Piece("@head", head), *lines]

    return View("health", visitor.t("health.title"), mark, pieces, refreshes=parts.doctor.findings.state == "running")


RUNS_A_PAGE = 50
STATES = ("running", "undecided", "suspended", "abandoned", "finished", "failed", "cancelled")
_LONGEST = 200
_MOST_PAGES = 10_000


def runs_view(parts: Parts, visitor: Visitor, arguments: MultiDict[str, str]) -> View:
    """Return the runs that `arguments` (page, and what is in `_GIVEN`) ask for."""
    given = _given(arguments)
    asked = _filter(given, content=parts.config.log_content)
    number = _page_number(arguments)

    def pieces() -> Sequence[Piece]:
        glances = parts.timeline.runs(asked, RUNS_A_PAGE + 1, (number - 1) * RUNS_A_PAGE)
        more = len(glances) > RUNS_A_PAGE
        glances = glances[:RUNS_A_PAGE]
        requests = _asked(parts, glances) if parts.config.log_content else {}
        titles = {run_id: asked.title for run_id, asked in requests.items()}
        lines = [Piece(f"run-{run.id}", _line(visitor, run, titles.get(run.id, ""))) for run in glances]
        pager = render(
            "runs_pager.html",
            visitor.t,
            number=number,
            newer=_address(given, number - 1) if number > 1 else "",
            older=_address(given, number + 1) if more else "",
            empty=not glances,
            filtered=bool(given),
        )
        return [*lines, Piece("@pager", pager)]

    values = _choices(parts, given) | {"states": STATES, "within": WITHIN, "content": parts.config.log_content}
    # To look for a text costs too much to do it again and again: what was found stays as it was.
    follows = not (asked.text or asked.tokens)
    return View("runs", visitor.t("runs.title"), parts.timeline.newest, pieces, values, follows, follows)


def _line(visitor: Visitor, run: Glance, title: str) -> str:
    state = shown_state(run.state, run.direction, run.pending, run.undecided)
    return render("runs_line.html", visitor.t, run=run, state=state, title=title)


_GIVEN = ("app", "state", "tool", "text", "client", "session", "within", "day", "longer", "tokens")
WITHIN = {"hour": 3600.0, "day": DAY_SECONDS, "week": 7 * DAY_SECONDS, "month": 30 * DAY_SECONDS}


def _given(arguments: MultiDict[str, str]) -> dict[str, str]:
    """Return what is asked for, as it was written; what makes no sense is left out."""
    given = {name: arguments.get(name, "").strip()[:_LONGEST] for name in _GIVEN}
    known = {"state": STATES, "within": tuple(WITHIN)}
    numbers = ("longer", "tokens")
    return {
        name: value
        for name, value in given.items()
        if value
        and (name not in known or value in known[name])
        and (name not in numbers or (value.isascii() and value.isdigit() and len(value) < 10))
        and (name != "day" or _begin_of(value) is not None)
    }


def _choices(parts: Parts, given: Mapping[str, str]) -> dict[str, object]:
    """Return what a filter offers, and what is chosen of it."""
    models, clients = parts.timeline.parties()
    models = list(dict.fromkeys([*(app.model for app in parts.config.apps), *models]))
    return {"given": {name: given.get(name, "") for name in _GIVEN}, "models": models, "clients": clients}


def _filter(given: Mapping[str, str], *, content: bool) -> Filter:
    texts = {name: given.get(name, "") for name in ("app", "state", "tool", "text", "client", "session")}
    day = _begin_of(given["day"]) if "day" in given else None
    within = WITHIN.get(given.get("within", ""))
    return Filter(
        **texts,
        began=day or (now() - within if within else 0.0),
        before=day + DAY_SECONDS if day else 0.0,
        longer=float(given.get("longer", 0)),
        tokens=int(given.get("tokens", 0)),
        content=content,
    )


def _begin_of(day: str) -> float | None:
    """Return when a day begins, as 2026-11-27 and by the clock of this machine."""
    try:
        return datetime.strptime(day, "%Y-%m-%d").astimezone().timestamp()
    except (ValueError, OverflowError):
        return None


def _page_number(arguments: MultiDict[str, str]) -> int:
    text = arguments.get("page", "1")
    return min(max(int(text), 1), _MOST_PAGES) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _address(given: Mapping[str, str], number: int) -> str:
    return "/?" + urlencode({**given, "page": str(number)})


def try_view(parts: Parts, visitor: Visitor, trial: Trial | None, model: str = "") -> View:
    """Return the page of a chat with an app, or of the one that is to begin."""

    def mark() -> Mark:
        if trial is None:
            return ()
        return (*((len(turn.answer), turn.is_over) for turn in trial.turns), *trial.runs)

    def pieces() -> Sequence[Piece]:
        # What a client said, and what follows from it, is content like any other; the rest was said at this page.
        content = trial is None or trial.again is None or parts.config.log_content
        asked = [
            Piece(f"turn-{n}", render("try_turn.html", visitor.t, turn=turn, words=content or n > 0, content=content))
            for n, turn in enumerate(trial.turns if trial else ())
        ]
        return [Piece("@runs", render("try_runs.html", visitor.t, trial=trial)), *asked]

    models = [app.model for app in parts.config.apps]
    tools = sorted(tool.name for tool in parts.core.registry.catalogue().tools)
    values = {"trial": trial, "models": models, "model": model, "tools": tools}
    refreshes = trial is not None and not trial.is_over
    return View("try", visitor.t("try.title"), mark, pieces, values, refreshes, follows=trial is not None)


SHOWN_DAYS = 14


@dataclass(frozen=True, slots=True)
class Column:
    """A day of the chart, with heights from 0 to 1."""

    at: float
    runs: int
    failed: int
    seconds: float


def statistics_view(parts: Parts, visitor: Visitor, arguments: MultiDict[str, str]) -> View:
    """Return the page of what runs came to, by day and app; `arguments` are app and client."""
    given = {name: value for name, value in _given(arguments).items() if name in {"app", "client"}}
    offset = datetime.now().astimezone().utcoffset() or timedelta()
    today = int((now() + offset.total_seconds()) // DAY_SECONDS)

    def begin(day: int) -> float:
        return day * DAY_SECONDS - offset.total_seconds()

    def pieces() -> Sequence[Piece]:
        party = (given.get("app", ""), given.get("client", ""))
        days = parts.timeline.days(*party, begin(today - SHOWN_DAYS + 1), offset.total_seconds())
        columns = [_column(days, day, begin(day)) for day in range(today - SHOWN_DAYS + 1, today + 1)]
        rows = [(each, begin(each.day)) for each in days]
        figures = render("statistics_figures.html", visitor.t, columns=columns, rows=rows, given=given)
        return [Piece("@figures", figures)]

    title, values = visitor.t("statistics.title"), _choices(parts, given)
    return View("statistics", title, tuple, pieces, values, refreshes=False, follows=False)


def _column(days: Sequence[Day], day: int, at: float) -> Column:
    of_day = [each for each in days if each.day == day]
    runs = sum(each.runs for each in of_day)
    seconds = sum(each.seconds * each.runs for each in of_day) / runs if runs else 0.0
    return Column(at, runs, sum(each.failed for each in of_day), seconds)


def _asked(parts: Parts, runs: Iterable[Glance | RunRow]) -> dict[str, Asked]:
    """Return what these runs were asked, by the run's id."""
    attempts = {run.id: run.attempt for run in runs}
    unread = [run_id for run_id, attempt in attempts.items() if parts.requests.known(run_id, attempt) is None]
    texts = parts.timeline.requests(unread) if unread else {}
    read = {run_id: parts.requests.read(run_id, attempts[run_id], text) for run_id, text in texts.items()}
    return {
        run_id: read.get(run_id) or parts.requests.known(run_id, attempts[run_id]) or Asked() for run_id in attempts
    }


def run_view(parts: Parts, visitor: Visitor, run_id: str) -> View:
    """Return a run's page. Raises NotFound."""
    if parts.timeline.mark(run_id) is None:
        raise NotFound(f"there is no run {run_id}; finished runs are kept for limits.keep_days", code="run_not_found")

    def mark() -> Mark:
        telling = _telling(parts, run_id)
        told = (telling.number, len(telling.text)) if telling else ()
        return (parts.timeline.mark(run_id), *told)

    def pieces() -> Sequence[Piece]:
        happened = _happened(parts, run_id)
        if happened is None:
            return []
        steps = steps_of(happened)
        waterfall = waterfall_of(happened)
        executors = {executor.id: executor.name for executor in parts.core.store.executors.all()}
        return [
            Piece("@head", _head(parts, visitor, happened, steps)),
            Piece("@graph", render("graph.html", visitor.t, picture=_picture(parts, happened, waterfall))),
            Piece("@axis", render("axis.html", visitor.t, waterfall=waterfall, run=happened.run)),
            *(known.lane(waterfall, lane) for lane in waterfall.lanes),
            *(known.piece(happened, step, executors) for step in steps),
        ]

    known = _Known(parts, visitor)
    refreshes = parts.timeline.goes_on(run_id) and not parts.timeline.count_undecided(run_id)
    return View("run", f"{visitor.t('run.title')} {short(run_id)}", mark, pieces, {"run_id": run_id}, refreshes)


def _waits(step: Step) -> bool:
    is_open = step.form is not None and step.form.state == "open"
    return is_open or (step.call is not None and step.call.state == CallState.AWAITING_APPROVAL)


def _picture(parts: Parts, happened: Happened, waterfall: Waterfall) -> Picture | None:
    app = parts.core.services.apps.get(happened.run.model)
    try:
        return picture_of(waterfall.lanes, app.export if app else None)
    except Exception:
        # What a library makes of somebody's chatflow must not cost them the page.
        log.exception("a chatflow could not be drawn", extra={"run": happened.run.id})
        return None


def _head(parts: Parts, visitor: Visitor, happened: Happened, steps: Sequence[Step]) -> str:
    run, calls = happened.run, [call for ticket in happened.tickets for call in ticket.calls]
    undecided = next((step.key for step in steps if _waits(step)), "")
    pending = set() if happened.over else {call.place for call in calls if call.pending}
    return render(
        "run_head.html",
        visitor.t,
        happened=happened,
        run=run,
        state=shown_state(run.state, run.direction, pending, undecided != ""),
        totals=totals(happened),
        undecided=undecided,
        content=parts.config.log_content,
        login=visitor.login,
        again=_original(parts, run) if run.auxiliary == "rerun" else None,
        repeatable=run.direction == "endpoint" and bool(happened.asked.query),
    )


def _original(parts: Parts, run: RunRow) -> str | None:
    """Return the run that this one does once more."""
    user = parts.core.services.requests.of(run).end_user
    return original_of(parts.core.store.end_user(user)) if user else None


class _Known:
    """The steps and lanes as they were written last: of a long run, only what changed is written anew."""

    def __init__(self, parts: Parts, visitor: Visitor) -> None:
        self._parts, self._visitor = parts, visitor
        self._written: dict[str, tuple[object, Piece]] = {}

    def piece(self, happened: Happened, step: Step, executors: dict[str, str]) -> Piece:
        """Return a step's piece."""
        depends = (step, happened.run.attempt, self._parts.config.log_content, executors)
        before = self._written.get(step.key)
        if before and before[0] == depends:
            return before[1]
        write = partial(_shown, self._parts, self._visitor, happened.run, happened.asked, step, executors)
        piece = Piece(step.key, write)
        self._written[step.key] = (depends, piece)
        return piece

    def lane(self, waterfall: Waterfall, lane: Lane) -> Piece:
        """Return the piece of a line of the waterfall."""
        key = f"lane-{lane.key}"
        # While time goes by, the page's script draws every bar to the axis, and what is sent need not.
        depends = (lane, waterfall.end)
        before = self._written.get(key)
        if before and before[0] == depends:
            return before[1]
        axis = replace(waterfall, lanes=())
        piece = Piece(key, partial(render, "lane.html", self._visitor.t, lane=lane, waterfall=axis))
        self._written[key] = (depends, piece)
        return piece


def _shown(parts: Parts, visitor: Visitor, run: RunRow, asked: Asked, step: Step, executors: dict[str, str]) -> str:
    tool = asked.tools.get(step.call.name) if step.call else None
    return render(
        f"step_{step.kind}.html",
        visitor.t,
        step=step,
        run=run,
        asked=asked,
        offset=step.at - run.created_at,
        content=parts.config.log_content,
        executors=executors,
        description=description(tool),
        form=form_of(step.form) if step.form else None,
        rule=_rule(parts, step.call) if step.call else "",
        always=narrowest_rule(run, step.call) if step.call and _waits(step) and parts.config.policy else None,
        login=visitor.login,
        back=visitor.path,
        tried=None,
    )


def _happened(parts: Parts, run_id: str) -> Happened | None:
    store = parts.core.store
    run = store.run(run_id)
    if run is None:
        return None
    return Happened(
        run=run,
        asked=_asked(parts, [run])[run.id],
        nodes=store.nodes.of_run(run_id),
        invocations=parts.timeline.invocations(run_id),
        tickets=store.tickets_of_run(run_id),
        segments=parts.timeline.segments(run_id),
        events=store.events_of_run(run_id),
        forms=store.forms.of_run(run_id),
        model_calls=_model_calls(parts, run),
        telling=_telling(parts, run_id),
    )


def _model_calls(parts: Parts, run: RunRow) -> Sequence[ModelCallRow]:
    calls = parts.core.store.model_calls
    if not parts.config.log_content:
        return [replace(call, request=None) for call in calls.of_run(run.id)]
    return calls.of_run(run.id, lambda: parts.core.services.requests.of(run).messages)


def _telling(parts: Parts, run_id: str) -> Telling | None:
    """Return the response that this process is telling the run's client now."""
    live = parts.core.live_runs.get(run_id)
    if live is None or live.over or live.current.closed:
        return None
    segment = live.current
    text = text_of(segment.read(0, 0))
    return Telling(segment.number, text) if text else None
