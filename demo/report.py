"""What happened, read from the bridge's store and the box's state, whoever the client was."""

from importlib.metadata import version
from typing import Any

import httpx

from bridge.api.openai.chat_response import usage_body
from demo.stack import Stack
from tools.wire import Usage

ENGINE = f"graphon {version('graphon')}"


def report(stack: Stack, client: str, http_requests: int, seconds: float) -> dict[str, Any]:
    """Return the demo's result as one JSON object."""
    state = httpx.get(f"{stack.box_url}/box/state").json()
    runs = [_run(stack, run_id, state) for run_id in _run_ids(stack)]
    return {
        "ok": bool(runs) and all(run["finish_reason"] == "stop" for run in runs),
        "client": client,
        "engine": ENGINE,
        "plugin": stack.box.ready["plugin"],
        "http_requests": http_requests or sum(len(run["segments"]) for run in runs),
        "runs": [{key: value for key, value in run.items() if key != "segments"} for run in runs],
        "seconds": round(seconds, 2),
    }


def _run_ids(stack: Stack) -> list[str]:
    store = stack.store()
    try:
        return store.run_ids()
    finally:
        store.close()


def _run(stack: Stack, run_id: str, state: dict[str, Any]) -> dict[str, Any]:
    store = stack.store()
    try:
        run, segments, tickets = store.run(run_id), store.segments(run_id), store.tickets_of_run(run_id)
        events = store.events_of_run(run_id)
    finally:
        store.close()
    if run is None:
        raise LookupError(run_id)
    ran_at = {event.call_id: event.actor.removeprefix("executor ") for event in events if event.event == "resolve"}
    last = segments[-1] if segments else None
    workflow_runs = [row for row in state["runs"] if row["user"] == run.dify_user]
    return {
        "id": run_id,
        "workflow_runs": len(workflow_runs),
        "rounds": len(tickets),
        "tool_calls": [
            {
                "id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "output": call.output,
                "ran_at": ran_at.get(call.id, "nobody"),
            }
            for ticket in tickets
            for call in ticket.calls
        ],
        "answer": last.text if last else "",
        "finish_reason": last.finish_reason if last else run.state,
        "usage": usage_body(Usage.model_validate_json(last.usage)) if last else {},
        "segments": segments,
    }
