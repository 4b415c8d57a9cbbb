"""Turns what a graph does into what the service API says about it.

ChatPipeline      a chatflow's events: they carry conversation_id, message_id and created_at
WorkflowPipeline  a workflow's events

Sources: core/app/apps/advanced_chat/generate_task_pipeline.py and core/app/apps/workflow/generate_task_pipeline.py, the
converters beside them, and core/app/apps/workflow_app_runner.py for which graph event means what.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping

from graphon.entities.pause_reason import HitlRequired

from demo.box.engine_names import (
    GraphRunAbortedEvent,
    GraphRunFailedEvent,
    GraphRunPartialSucceededEvent,
    GraphRunPausedEvent,
    GraphRunStartedEvent,
    GraphRunSucceededEvent,
    GraphRuntimeState,
    NodeRunExceptionEvent,
    NodeRunFailedEvent,
    NodeRunReasoningChunkEvent,
    NodeRunRetryEvent,
    NodeRunStartedEvent,
    NodeRunStreamChunkEvent,
    NodeRunSucceededEvent,
)
from demo.box.failures import described, error_response, run_failure
from demo.box.listener import Failure, Item, Ping, Stop
from demo.box.responses import Response, WorkflowResponses
from demo.box.store import Message
from demo.box.topic import PING, Event
from demo.box.usage import usage_with_times


class Pipeline(ABC):
    """What both kinds of app have in common. `state` gives the graph's runtime state once the graph is built."""

    def __init__(self, responses: WorkflowResponses, state: Callable[[], GraphRuntimeState | None]) -> None:
        self._responses = responses
        self._state = state
        self._workflow_started = False

    def events(self, items: Iterable[Item]) -> Iterator[Event]:
        """The run's events, in Dify's order. A failure is an `error` event whose exception is kept in `error`."""
        for item in items:
            yield from (PING if response is None else self._framed(response) for response in self._handle(item))
            if isinstance(item, _LAST):
                return

    error: Exception | None = None
    brings: Mapping[str, list[Response]] = {}
    """What nodes that the box does not have would bring: files, and retriever_resources."""
    last_events: tuple[str, ...] = ("workflow_finished", "workflow_paused")
    """The events after which nothing more is owed to a reader."""

    def _handle(self, item: Item) -> Iterator[Response | None]:  # noqa: C901 - a table of cases
        match item:
            case Ping():
                yield None
            case GraphRunStartedEvent():
                self._workflow_started = True
                yield self._responses.started(item.reason.value)
            case NodeRunRetryEvent():
                yield self._responses.node_retry(item)
            case NodeRunStartedEvent():
                yield self._responses.node_started(item)
            case NodeRunSucceededEvent() | NodeRunFailedEvent() | NodeRunExceptionEvent():
                self._node_ended(item)
                yield from self._responses.form_ended(item)
                yield self._responses.node_finished(item)
            case NodeRunStreamChunkEvent():
                yield self._text(item.chunk, list(item.selector))
            case NodeRunReasoningChunkEvent() if item.chunk or item.is_final:
                yield self._reasoning(item)
            case GraphRunSucceededEvent():
                yield from self._ended_well("succeeded")
            case GraphRunPartialSucceededEvent():
                yield from self._ended_well("partial-succeeded", item.exceptions_count)
            case GraphRunFailedEvent():
                yield from self._failed(item)
            case GraphRunPausedEvent():
                forms = [reason.session_id for reason in item.reasons if isinstance(reason, HitlRequired)]
                yield from self._responses.paused(forms, self._running_state())
            case GraphRunAbortedEvent():
                yield from self._stopped(item.reason or "Workflow execution aborted")
            case Stop():
                yield from self._stopped(item.reason)
            case Failure():
                yield self._error(item.error)

    def _failed(self, event: GraphRunFailedEvent) -> Iterator[Response]:
        finished = self._finished("failed", event.error, event.exceptions_count)
        failure = self._error(run_failure(event.error))
        yield finished
        yield failure

    def _finished(self, status: str, error: str | None = None, exceptions_count: int = 0) -> Response:
        return self._responses.finished(status, self._running_state(), error, exceptions_count)

    def _running_state(self) -> GraphRuntimeState:
        state = self._state()
        if state is None:
            raise ValueError("graph runtime state not initialized.")
        return state

    def _node_ended(self, event: NodeRunSucceededEvent | NodeRunFailedEvent | NodeRunExceptionEvent) -> None:
        """Take note of a node's end; a workflow has nothing to note."""
        return

    def _error(self, error: Exception) -> Response:
        self.error = error
        return error_response(error)

    @abstractmethod
    def _framed(self, response: Response) -> Response: ...

    @abstractmethod
    def _text(self, text: str, selector: list[str]) -> Response: ...

    @abstractmethod
    def _reasoning(self, event: NodeRunReasoningChunkEvent) -> Response: ...

    @abstractmethod
    def _ended_well(self, status: str, exceptions_count: int = 0) -> Iterator[Response]: ...

    @abstractmethod
    def _stopped(self, reason: str) -> Iterator[Response]: ...


_LAST = (
    GraphRunSucceededEvent,
    GraphRunPartialSucceededEvent,
    GraphRunFailedEvent,
    GraphRunAbortedEvent,
    GraphRunPausedEvent,
    Stop,
    Failure,
)


class ChatPipeline(Pipeline):
    """A chatflow's events. The message gets the answer when the run ended well or was stopped."""

    def __init__(
        self,
        responses: WorkflowResponses,
        state: Callable[[], GraphRuntimeState | None],
        *,
        task_id: str,
        message: Message,
        legacy_order: bool,
    ) -> None:
        super().__init__(responses, state)
        self._task_id = task_id
        self._message = message
        self._legacy_order = legacy_order
        self._answer = ""
        self._reasoned: dict[str, str] = {}
        self._usage: dict[str, object] | None = None
        self._begun_at = time.perf_counter()
        self._first_token_at: float | None = None
        self._last_token_at: float | None = None

    def _framed(self, response: Response) -> Response:
        frame = {
            "event": response["event"],
            "conversation_id": self._message.conversation_id,
            "message_id": self._message.id,
            "created_at": int(self._message.created_at),
        }
        return {**frame, **response}

    def _text(self, text: str, selector: list[str]) -> Response:
        if text.strip():
            self._last_token_at = time.perf_counter()
            self._first_token_at = self._first_token_at or self._last_token_at
        self._answer += text
        return {
            "event": "message",
            "task_id": self._task_id,
            "id": self._message.id,
            "answer": text,
            "from_variable_selector": selector,
        }

    def _reasoning(self, event: NodeRunReasoningChunkEvent) -> Response:
        data = {
            "message_id": self._message.id,
            "reasoning": event.chunk,
            "node_id": event.node_id,
            "is_final": event.is_final,
        }
        return {"event": "reasoning_chunk", "task_id": self._task_id, "data": data}

    def _node_ended(self, event: NodeRunSucceededEvent | NodeRunFailedEvent | NodeRunExceptionEvent) -> None:
        reasoning = event.node_run_result.outputs.get("reasoning_content")
        if isinstance(event, NodeRunSucceededEvent) and isinstance(reasoning, str) and reasoning:
            self._reasoned[event.node_id] = self._reasoned.get(event.node_id, "") + reasoning

    def _ended_well(self, status: str, exceptions_count: int = 0) -> Iterator[Response]:
        finished = self._finished(status, exceptions_count=exceptions_count)
        self._save_message(self._running_state())
        yield from (finished, self._message_end()) if self._legacy_order else (self._message_end(), finished)

    def _stopped(self, reason: str) -> Iterator[Response]:
        if self._workflow_started:
            finished = self._finished("stopped", reason)
            self._save_message(self._running_state())
            yield finished
        yield self._message_end()

    def _error(self, error: Exception) -> Response:
        self._message.status = "error"
        self._message.error = described(error)
        return super()._error(error)

    def _save_message(self, state: GraphRuntimeState) -> None:
        message, usage = self._message, state.llm_usage
        message.answer = self._answer
        message.latency = time.perf_counter() - self._begun_at
        message.message_tokens, message.answer_tokens = usage.prompt_tokens, usage.completion_tokens
        message.total_price, message.currency = str(usage.total_price), usage.currency
        self._usage = usage_with_times(usage, self._begun_at, self._first_token_at, self._last_token_at)

    def _message_end(self) -> Response:
        metadata: Response = {
            "annotation_reply": None,
            "retriever_resources": self.brings.get("retriever_resources", []),
            "usage": self._usage,
            "reasoning": self._reasoned,
        }
        return {
            "event": "message_end",
            "task_id": self._task_id,
            "id": self._message.id,
            "metadata": metadata,
            "files": self.brings.get("files", []),
        }

    def blocking_response(self, mode: str) -> Response:
        """The answer of a request in blocking mode, once the events are through."""
        message = self._message
        return {
            "event": "message",
            "task_id": self._task_id,
            "id": message.id,
            "message_id": message.id,
            "conversation_id": message.conversation_id,
            "mode": mode,
            "answer": self._answer,
            "metadata": self._message_end()["metadata"],
            "created_at": int(message.created_at),
        }


class WorkflowPipeline(Pipeline):
    """A workflow's events."""

    def __init__(
        self,
        responses: WorkflowResponses,
        state: Callable[[], GraphRuntimeState | None],
        *,
        task_id: str,
        workflow_run_id: str,
    ) -> None:
        super().__init__(responses, state)
        self._task_id = task_id
        self._workflow_run_id = workflow_run_id
        self._last: Response = {}

    def _framed(self, response: Response) -> Response:
        if response["event"] == "workflow_finished":
            self._last = response
        return {"event": response["event"], "workflow_run_id": self._workflow_run_id, **response}

    def _text(self, text: str, selector: list[str]) -> Response:
        return {
            "event": "text_chunk",
            "task_id": self._task_id,
            "data": {"text": text, "from_variable_selector": selector},
        }

    def _reasoning(self, event: NodeRunReasoningChunkEvent) -> Response:
        data = {"message_id": "", "reasoning": event.chunk, "node_id": event.node_id, "is_final": event.is_final}
        return {"event": "reasoning_chunk", "task_id": self._task_id, "data": data}

    def _ended_well(self, status: str, exceptions_count: int = 0) -> Iterator[Response]:
        yield self._finished(status, exceptions_count=exceptions_count)

    def _failed(self, event: GraphRunFailedEvent) -> Iterator[Response]:
        yield self._finished("failed", event.error, event.exceptions_count)

    def _stopped(self, reason: str) -> Iterator[Response]:
        if self._workflow_started:
            yield self._finished("stopped", reason)

    def blocking_response(self) -> Response:
        """The answer of a request in blocking mode, once the events are through."""
        if not self._last:
            raise ValueError("queue listening stopped unexpectedly.")
        hidden = ("created_by", "exceptions_count", "files")
        data = {key: value for key, value in self._last["data"].items() if key not in hidden}
        return {"task_id": self._task_id, "workflow_run_id": self._workflow_run_id, "data": data}
