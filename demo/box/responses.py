"""The workflow's part of a stream: workflow_started, node_started, node_finished, node_retry, workflow_finished, and
what tells of pauses.

Sources: core/app/apps/common/workflow_response_converter.py for what is said, core/app/entities/task_entities.py for
the fields and their order.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from graphon.enums import BuiltinNodeTypes
from graphon.workflow_type_encoder import WorkflowRuntimeTypeConverter

from demo.box.engine_names import (
    GraphNodeEventBase,
    GraphRuntimeState,
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunRetryEvent,
    NodeRunStartedEvent,
    NodeRunSucceededEvent,
)
from demo.box.forms import Forms
from demo.box.store import WorkflowRun

type Response = dict[str, Any]
type NodeEnd = NodeRunSucceededEvent | NodeRunFailedEvent | NodeRunExceptionEvent | NodeRunRetryEvent

_STATUS: dict[type[GraphNodeEventBase], str] = {
    NodeRunSucceededEvent: "succeeded",
    NodeRunFailedEvent: "failed",
    NodeRunExceptionEvent: "exception",
    NodeRunRetryEvent: "retry",
}
# Dify numbers every node 1: QueueNodeStartedEvent.node_run_index is never set.
_INDEX = 1


class WorkflowResponses:
    """Makes one run's workflow events, and keeps the run's record up to date with them."""

    def __init__(self, run: WorkflowRun, task_id: str, forms: Forms) -> None:
        self._run = run
        self._task_id = task_id
        self._forms = forms
        self._titles: dict[str, str] = {}
        self._started_at = 0.0

    def started(self, reason: str) -> Response:
        """`workflow_started`."""
        self._started_at = time.time()
        if self._run.status != "paused":
            self._run.created_at = self._started_at
        self._run.status = "running"
        data = {
            "id": self._run.id,
            "workflow_id": self._run.workflow_id,
            "inputs": self._run.inputs,
            "created_at": int(self._started_at),
            "reason": reason,
        }
        return self._response("workflow_started", data)

    def finished(
        self, status: str, state: GraphRuntimeState, error: str | None = None, exceptions_count: int = 0
    ) -> Response:
        """`workflow_finished`. The run's record ends with it."""
        run = self._run
        run.status, run.error, run.exceptions_count = status, error, exceptions_count
        run.outputs = _json(state.outputs) or {}
        run.total_steps, run.total_tokens = state.node_run_steps, state.total_tokens
        run.finished_at = time.time()
        run.elapsed_time = run.finished_at - self._started_at
        run.node_responses.clear()
        return finish_response(run, self._task_id)

    def paused(self, form_ids: Sequence[str], state: GraphRuntimeState) -> Iterator[Response]:
        """`human_input_required` for each form, and `workflow_paused`."""
        forms = [self._forms.get(each) for each in form_ids]
        for form in forms:
            yield self._response("human_input_required", form.required())
        self._run.status = "paused"
        data = {
            "workflow_run_id": self._run.id,
            "paused_nodes": [form.node_id for form in forms],
            "outputs": {},
            "reasons": [form.reason() for form in forms],
            "status": "paused",
            "created_at": int(self._started_at),
            "elapsed_time": time.time() - self._started_at,
            "total_tokens": state.total_tokens,
            "total_steps": state.node_run_steps,
        }
        yield self._response("workflow_paused", data)

    def form_ended(self, event: NodeEnd) -> Iterator[Response]:
        """`human_input_form_filled` or `human_input_form_timeout`, where a form's node has ended."""
        is_form = event.node_type == BuiltinNodeTypes.HUMAN_INPUT
        if is_form and (ended := self._forms.ended(self._run.id, event.node_id)):
            yield self._response(*ended)

    def node_started(self, event: NodeRunStartedEvent) -> Response:
        self._titles[event.id] = event.node_title
        self._run.nodes[event.node_id] = "running"
        data: Response = {
            "id": event.id,
            "node_id": event.node_id,
            "node_type": event.node_type,
            "title": event.node_title,
            "index": _INDEX,
            "predecessor_node_id": None,
            "inputs": None,
            "inputs_truncated": False,
            "created_at": _seconds(event.start_at),
            "extras": {},
            "iteration_id": getattr(event, "in_iteration_id", None),
            "loop_id": getattr(event, "in_loop_id", None),
            "agent_strategy": None,
        }
        return self._kept(self._response("node_started", data))

    def node_finished(self, event: NodeEnd) -> Response:
        return self._kept(self._response("node_finished", self._node_end(event)))

    def node_retry(self, event: NodeRunRetryEvent) -> Response:
        """`node_retry`: a failed attempt, and another one to come."""
        return self._response("node_retry", {**self._node_end(event), "retry_index": event.retry_index})

    def _node_end(self, event: NodeEnd) -> Response:
        result = event.node_run_result
        finished_at = getattr(event, "finished_at", None) or datetime.now(UTC).replace(tzinfo=None)
        status = _STATUS[type(event)]
        self._run.nodes[event.node_id] = status
        outputs = result.inputs if event.node_type == BuiltinNodeTypes.START else result.outputs
        return {
            "id": event.id,
            "node_id": event.node_id,
            "node_type": event.node_type,
            "title": self._titles.get(event.id, ""),
            "index": _INDEX,
            "predecessor_node_id": None,
            "inputs": _json(result.inputs),
            "inputs_truncated": False,
            "process_data": _json(result.process_data),
            "process_data_truncated": False,
            "outputs": _json(outputs),
            "outputs_truncated": False,
            "status": status,
            "error": (result.error or "Unknown error") if status in ("failed", "exception") else result.error or None,
            "elapsed_time": (finished_at - event.start_at).total_seconds(),
            "execution_metadata": _json(_prices_as_text(result.metadata)) or None,
            "created_at": _seconds(event.start_at),
            "finished_at": _seconds(finished_at),
            "files": [],
            "iteration_id": getattr(event, "in_iteration_id", None),
            "loop_id": getattr(event, "in_loop_id", None),
        }

    def _kept(self, response: Response) -> Response:
        self._run.node_responses.append(response)
        return response

    def _response(self, event: str, data: dict[str, Any]) -> Response:
        return {"event": event, "task_id": self._task_id, "workflow_run_id": self._run.id, "data": data}


def finish_response(run: WorkflowRun, task_id: str) -> Response:
    """`workflow_finished` of a run that has ended."""
    data: Response = {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "status": run.status,
        "outputs": run.outputs,
        "error": run.error,
        "elapsed_time": run.elapsed_time,
        "total_tokens": run.total_tokens,
        "total_steps": run.total_steps,
        "created_by": {"id": run.end_user.id, "user": run.end_user.session_id},
        "created_at": int(run.created_at),
        "finished_at": int(run.finished_at or 0),
        "exceptions_count": run.exceptions_count,
        "files": [],
    }
    return {"event": "workflow_finished", "task_id": task_id, "workflow_run_id": run.id, "data": data}


def _json(values: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    converted = WorkflowRuntimeTypeConverter().to_json_encodable({str(key): value for key, value in values.items()})
    return dict(converted)


def _prices_as_text(metadata: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: str(value) if isinstance(value, Decimal) else value for key, value in metadata.items()}


def _seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())
