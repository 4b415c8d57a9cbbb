"""One run, step by step."""

from collections.abc import Sequence

from bridge.errors import NotFound
from bridge.page.rendering import Piece, render
from bridge.page.views.asked import description
from bridge.page.views.steps import Happened, Step, Telling, steps_of, totals
from bridge.page.views.views import Mark, Parts, View, Visitor
from bridge.runs.segments import Text
from tools.ticket_states import CallState


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
        head = render(
            "run_head.html",
            visitor.t,
            happened=happened,
            run=happened.run,
            totals=totals(happened),
            undecided=next((step.key for step in steps if _waits(step)), ""),
            content=parts.config.log_content,
        )
        executors = {executor.id: executor.name for executor in parts.runs.store.executors.all()}
        return [Piece("@head", head), *(known.piece(happened, step, executors) for step in steps)]

    known = _Known(parts, visitor)
    happened = _happened(parts, run_id)
    refreshes = happened is not None and not happened.over and not any(map(_waits, steps_of(happened)))
    return View("run", f"{visitor.t('run.title')} {run_id[:8]}", mark, pieces, {"run_id": run_id}, refreshes)


def _waits(step: Step) -> bool:
    return step.call is not None and step.call.state == CallState.AWAITING_APPROVAL


class _Known:
    """The steps as they were written last: of a long run, only what changed is written anew."""

    def __init__(self, parts: Parts, visitor: Visitor) -> None:
        self._parts, self._visitor = parts, visitor
        self._written: dict[str, tuple[object, Piece]] = {}

    def piece(self, happened: Happened, step: Step, executors: dict[str, str]) -> Piece:
        """Return a step's piece."""
        depends = (step, happened.run.attempt, self._parts.config.log_content, executors)
        before = self._written.get(step.key)
        if before and before[0] == depends:
            return before[1]
        piece = Piece(step.key, _shown(self._parts, self._visitor, happened, step, executors))
        self._written[step.key] = (depends, piece)
        return piece


def _shown(parts: Parts, visitor: Visitor, happened: Happened, step: Step, executors: dict[str, str]) -> str:
    tool = happened.asked.tools.get(step.call.name) if step.call else None
    return render(
        f"step_{step.kind}.html",
        visitor.t,
        step=step,
        run=happened.run,
        asked=happened.asked,
        offset=step.at - happened.run.created_at,
        content=parts.config.log_content,
        executors=executors,
        description=description(tool),
        login=visitor.login,
        back=visitor.path,
        tried=None,
    )


def _happened(parts: Parts, run_id: str) -> Happened | None:
    store = parts.runs.store
    run = store.run(run_id)
    if run is None:
        return None
    return Happened(
        run=run,
        asked=parts.requests.read(run.id, run.attempt, run.request),
        nodes=store.nodes.of_run(run_id),
        invocations=parts.timeline.invocations(run_id),
        tickets=store.tickets_of_run(run_id),
        segments=parts.timeline.segments(run_id),
        events=store.events_of_run(run_id),
        telling=_telling(parts, run_id),
    )


def _telling(parts: Parts, run_id: str) -> Telling | None:
    """Return the response that this process is telling the run's client now."""
    live = parts.runs.live(run_id)
    if live is None or live.over or live.current.closed:
        return None
    segment = live.current
    text = "".join(event.text for event in segment.read(0, 0) if isinstance(event, Text))
    return Telling(segment.number, text) if text else None
