"""A run as one JSON object: everything that is known of it, for a report or a program."""

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel

from bridge.errors import Conflict, NotFound
from bridge.runs.requests import RunRequests
from bridge.runs.runs import Runs
from bridge.store import Store
from bridge.store.rows import EventRow, ModelCallRow, NodeRow, RunRow
from bridge.store.timeline import Dated, Timeline
from tools.run_states import UNFINISHED

_DIGESTS = ("session_key", "turn_key", "request_key", "idempotency", "query_digest", "request", "version")


class RunDocument(BaseModel):
    """A run, what it was asked, and all that happened. Times are seconds since the epoch.

    Without `log_content`, texts (messages, arguments, results, answers) are replaced by how long they are.
    """

    run: dict[str, Any]
    request: dict[str, Any]
    nodes: list[NodeRow]
    invocations: list[dict[str, Any]]
    tickets: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    events: list[EventRow]
    model_calls: list[ModelCallRow]


def run_document(store: Store, timeline: Timeline, run_id: str, *, content: bool) -> RunDocument:
    """Return a run's document. Raises NotFound."""
    run = known_run(store, run_id)
    tickets = [asdict(ticket) for ticket in store.tickets_of_run(run_id)]
    for ticket in tickets:
        _show(ticket, ("content", "reasoning", "shown", "reply"), content=content)
        for call in ticket["calls"]:
            _show(call, ("arguments", "output", "images", "asked"), content=content)
            del call["digest"]
    return RunDocument(
        run={name: value for name, value in asdict(run).items() if name not in _DIGESTS},
        request=_request(store, run, content=content),
        nodes=store.nodes.of_run(run_id),
        invocations=[_dated(each, ("answer",), content=content) for each in timeline.invocations(run_id)],
        tickets=tickets,
        segments=[_dated(each, ("text", "reasoning"), content=content) for each in timeline.segments(run_id)],
        events=store.events_of_run(run_id),
        model_calls=_model_calls(store, run, content=content),
    )


def known_run(store: Store, run_id: str) -> RunRow:
    """Return a run. Raises NotFound."""
    run = store.run(run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}; finished runs are kept for limits.keep_days", code="run_not_found")
    return run


def cancel_run(runs: Runs, store: Store, run_id: str, who: str) -> RunRow:
    """End a run for somebody; once more changes nothing. Raises NotFound, and Conflict where it ended otherwise."""
    if known_run(store, run_id).state in UNFINISHED:
        runs.cancel(run_id, f"cancelled by {who}")
    run = known_run(store, run_id)
    if run.state != "cancelled":
        raise Conflict(f"run {run_id} is {run.state} already: there is nothing to cancel", code="run_over")
    return run


def _model_calls(store: Store, run: RunRow, *, content: bool) -> list[ModelCallRow]:
    if content:
        return store.model_calls.of_run(run.id, lambda: RunRequests(store).of(run).messages)
    calls = store.model_calls.of_run(run.id)
    return [replace(call, request=call.request and _hidden(call.request)) for call in calls]


def _request(store: Store, run: RunRow, *, content: bool) -> dict[str, Any]:
    request = RunRequests(store).of(run)
    if content:
        return request.model_dump(exclude={"given", "frame"}, exclude_none=True)
    tools = [tool.name for tool in request.tools]
    return {"messages": len(request.messages), "query": _hidden(request.query), "tools": tools}


def _dated(each: Dated[Any], names: Collection[str], *, content: bool) -> dict[str, Any]:
    values = asdict(each.row) | {"created_at": each.at}
    values.pop("fingerprint", None)
    if "usage" in values:
        values["usage"] = json.loads(values["usage"])
    _show(values, names, content=content)
    return values


def _show(values: dict[str, Any], names: Collection[str], *, content: bool) -> None:
    for name in names:
        if not content and values[name] is not None:
            values[name] = _hidden(values[name])


def _hidden(text: str) -> str:
    return f"({len(text)} characters, hidden)"
