"""Server-sent events of Dify's service API as what happened in a workflow run.

Source of names and fields: `core/app/entities/task_entities.py` of Dify 1.16; every reader below also takes what
1.4.2 sends. Events that the bridge has no use for (iterations, audio, agent logs) are read as None.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from bridge.dify.forms import PausedForm, paused_form
from tools.sse import Oversized, ServerSentEvent
from tools.surrogates import Halves, whole
from tools.wire import Usage

_LIKELY = ("answer", "text", "output", "result")


def answer_in(outputs: Mapping[str, Any], name: str | None = None) -> str:
    """Return the output called `name`, else the one that is the answer by its name, else the only one, else all.

    Files are none: they are told as links.
    """
    outputs = {each: value for each, value in outputs.items() if not any(files_in(value))}
    if name is not None:
        return _as_text(outputs.get(name))
    likely = next((outputs[each] for each in _LIKELY if isinstance(outputs.get(each), str)), None)
    if likely is not None:
        return str(likely)
    return _as_text(next(iter(outputs.values()))) if len(outputs) == 1 else _as_text(dict(outputs) or None)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What Dify says with every event. Fields that an event lacks are empty."""

    task_id: str = ""
    """By which the run is stopped."""
    conversation_id: str = ""
    message_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Event):
    """Nothing happened for 10 s, and the connection is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStarted(Event):
    """The run has begun. `reason` is `initial` or `resumption` (after a pause).

    `conversation_id` is empty where Dify 1.13 or later only says so to tell next that the run failed before it began.
    """

    workflow_run_id: str
    reason: str = "initial"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node has begun. `node_type` is Dify's word: llm, answer, if-else, ..."""

    node_id: str
    title: str
    node_type: str
    execution_id: str = ""
    """What tells this execution of the node from its others, in a loop for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinished(Event):
    """A node has ended. `status` is succeeded, failed, exception (failed, and the flow goes on) or stopped.

    `price` is what Dify counts for the node's model calls, in `currency`; both are empty where it counts nothing.
    """

    node_id: str
    title: str
    node_type: str
    status: str
    error: str | None = None
    execution_id: str = ""
    total_tokens: int = 0
    price: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRetry(Event):
    """A node failed and runs again; the text it wrote before stays in the answer."""

    node_id: str
    title: str
    error: str | None = None
    execution_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Event):
    """A piece of the answer, or of a workflow's text. `node_id` is the node that wrote it, empty where nobody says."""

    answer: str
    node_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMessage(Message):
    """A piece of an agent app's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentThought(Event):
    """A step of an agent app. `tool` is what it called, with `tool_input`, and what came back is `observation`."""

    thought: str = ""
    tool: str = ""
    tool_input: str = ""
    observation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningChunk(Event):
    """A piece of a model's reasoning, where the node keeps it out of the answer."""

    reasoning: str
    node_id: str = ""
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReplace(Event):
    """The whole answer so far is replaced, by output moderation (`reason`) for one."""

    answer: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file that the app made. `url` may lack Dify's own address."""

    name: str
    url: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class Resource:
    """A piece of a document of Dify's knowledge that the answer rests on."""

    document: str
    dataset_id: str
    document_id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFile(Event):
    """An agent's tool made a file."""

    file: File


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEnd(Event):
    """The answer is complete. `usage` is that of all model calls of the run, None where Dify counted nothing."""

    usage: Usage | None = None
    files: tuple[File, ...] = ()
    resources: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPaused(Event):
    """The run waits, and the stream ends here: for a person, who is to answer the `forms` of Human Input nodes."""

    node_ids: tuple[str, ...] = ()
    forms: tuple[PausedForm, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFinished(Event):
    """The run has ended. `status` is succeeded, partial-succeeded, failed or stopped.

    A run that lasts longer than Dify allows is `stopped` too; its `error` tells it from one that somebody stopped.
    """

    workflow_run_id: str
    status: str
    error: str | None
    outputs: dict[str, Any]
    total_tokens: int
    files: tuple[File, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Say whether there is an answer."""
        return self.status in {"succeeded", "partial-succeeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(Event):
    """The run failed; nothing follows. `status` and `code` are those of Dify's HTTP errors."""

    status: int
    code: str
    message: str


class Unreadable(Exception):
    """What Dify sent is not what its service API speaks."""


def read(sent: ServerSentEvent | Oversized) -> Event | None:
    """Return what `sent` says, or None where the bridge has no use for it. Raises Unreadable."""
    if isinstance(sent, Oversized):
        _check_oversized(sent)
        return None
    if not sent.data:
        return Ping() if sent.name == "ping" else None
    try:
        payload = json.loads(sent.data)
    except (ValueError, RecursionError):
        raise Unreadable("an event is not JSON") from None
    if not isinstance(payload, dict):
        raise Unreadable("an event is not a JSON object")
    return read_payload(payload)


class Pieces:
    """Makes the pieces of a stream's answer and reasoning whole: Dify passes on half a character as it got it."""

    def __init__(self) -> None:
        self._halves: dict[object, Halves] = defaultdict(Halves)

    def put_together(self, event: Event) -> Event:
        """Return the event with text that can be told."""
        match event:
            case Message():
                return replace(event, answer=self._halves[event.node_id].feed(event.answer))
            case ReasoningChunk():
                return replace(event, reasoning=self._halves["reasoning", event.node_id].feed(event.reasoning))
            case _:
                return event


def read_payload(payload: Payload) -> Event | None:
    """Return what the JSON object of an event says, or None where the bridge has no use for it."""
    reader = _READERS.get(_text(payload, "event"))
    if reader is None:
        return None
    envelope = {name: _text(payload, name) for name in ("task_id", "conversation_id", "message_id")}
    data = payload.get("data")
    return reader(payload, data if isinstance(data, dict) else {}, envelope)


_INDISPENSABLE = {
    "message",
    "text_chunk",
    "agent_message",
    "message_replace",
    "workflow_started",
    "workflow_finished",
    "error",
}


def _check_oversized(sent: Oversized) -> None:
    named = re.search(r'"event"\s*:\s*"(\w+)"', sent.head)
    name = named.group(1) if named else "unknown"
    if named is None or name in _INDISPENSABLE:
        raise Unreadable(f"an event ({name}) is too large")


def _text(source: Payload, name: str) -> str:
    return str(whole(_piece(source, name)))


def _piece(source: Payload, name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


def _error(source: Payload) -> str | None:
    value = source.get("error")
    return None if value is None or value == "" else str(whole(str(value)))


def _whole(source: Payload, name: str) -> int:
    value = source.get(name)
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _usage(payload: Payload) -> Usage | None:
    metadata = payload.get("metadata")
    usage = metadata.get("usage") if isinstance(metadata, dict) else None
    if not isinstance(usage, dict):
        return None
    counted = Usage(prompt_tokens=_whole(usage, "prompt_tokens"), completion_tokens=_whole(usage, "completion_tokens"))
    return counted if counted.total_tokens else None


def _ping(_payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    return Ping(**envelope)


def _workflow_started(payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    run_id = _text(payload, "workflow_run_id") or _text(data, "id")
    return WorkflowStarted(workflow_run_id=run_id, reason=_text(data, "reason") or "initial", **envelope)


def _node_started(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    return NodeStarted(
        node_id=_text(data, "node_id"),
        title=_text(data, "title"),
        node_type=_text(data, "node_type"),
        execution_id=_text(data, "id"),
        **envelope,
    )


def _node_finished(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    counted = data.get("execution_metadata")
    metadata = counted if isinstance(counted, dict) else {}
    price = _price(metadata)
    return NodeFinished(
        node_id=_text(data, "node_id"),
        title=_text(data, "title"),
        node_type=_text(data, "node_type"),
        status=_text(data, "status"),
        error=_error(data),
        execution_id=_text(data, "id"),
        total_tokens=_whole(metadata, "total_tokens"),
        price=price,
        currency=_text(metadata, "currency") if price else "",
        **envelope,
    )


def _price(metadata: Payload) -> str:
    """Return the price as it stands there, if it is a number above nothing: Dify writes 0 for what it cannot price."""
    try:
        price = Decimal(str(metadata.get("total_price") or "0"))
    except InvalidOperation:
        return ""
    return str(price) if price.is_finite() and price > 0 else ""


def _node_retry(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    return NodeRetry(
        node_id=_text(data, "node_id"),
        title=_text(data, "title"),
        error=_error(data),
        execution_id=_text(data, "id"),
        **envelope,
    )


def _message(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    selector = payload.get("from_variable_selector")
    node_id = selector[0] if isinstance(selector, list) and selector and isinstance(selector[0], str) else ""
    return Message(answer=_piece(payload, "answer"), node_id=node_id, **envelope)


def _text_chunk(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    selector = data.get("from_variable_selector")
    node_id = selector[0] if isinstance(selector, list) and selector and isinstance(selector[0], str) else ""
    return Message(answer=_piece(data, "text"), node_id=node_id, **envelope)


def _agent_message(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    return AgentMessage(answer=_piece(payload, "answer"), **envelope)


def _agent_thought(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    names = ("thought", "tool", "tool_input", "observation")
    return AgentThought(**{name: _text(payload, name) for name in names}, **envelope)


def _reasoning_chunk(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    envelope["message_id"] = envelope["message_id"] or _text(data, "message_id")
    return ReasoningChunk(
        reasoning=_piece(data, "reasoning"),
        node_id=_text(data, "node_id"),
        is_final=data.get("is_final") is True,
        **envelope,
    )


def _message_replace(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    return MessageReplace(answer=_text(payload, "answer"), reason=_text(payload, "reason"), **envelope)


def _message_end(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    envelope["message_id"] = envelope["message_id"] or _text(payload, "id")
    metadata = payload.get("metadata")
    told = metadata.get("retriever_resources") if isinstance(metadata, dict) else None
    resources = [_resource(each) for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return MessageEnd(
        usage=_usage(payload), files=tuple(files_in(payload.get("files"))), resources=tuple(resources), **envelope
    )


def _resource(source: Payload) -> Resource:
    names = ("document_name", "dataset_id", "document_id", "content")
    return Resource(*(_text(source, name) for name in names))


def _message_file(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event | None:
    if _text(payload, "belongs_to") == "user" or not (file := _file(payload)):
        return None
    return MessageFile(file=file, **envelope)


def files_in(value: object) -> Iterator[File]:
    """Yield the files among what a node or a run brought, which is lists and objects of them."""
    if isinstance(value, dict) and (file := _file(value)):
        yield file
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from files_in(each)


def _file(source: Payload) -> File | None:
    """Return the file that an object of Dify's stands for.

    Source: `to_dict` of `File` in graphon, and `message_file` in `core/app/entities/task_entities.py` of Dify 1.16.
    """
    url, kind = _text(source, "url") or _text(source, "remote_url"), _text(source, "type")
    known = "dify_model_identity" in source or "transfer_method" in source or _text(source, "event") == "message_file"
    if not url or not known:
        return None
    name = _text(source, "filename") or url.partition("?")[0].rpartition("/")[2]
    return File(name or "file", url, kind == "image" or _text(source, "mime_type").startswith("image/"))


def _workflow_paused(_payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    nodes = data.get("paused_nodes")
    names = tuple(str(node) for node in nodes) if isinstance(nodes, list) else ()
    reasons = data.get("reasons")
    forms = tuple(form for each in reasons if (form := paused_form(each))) if isinstance(reasons, list) else ()
    return WorkflowPaused(node_ids=names, forms=forms, **envelope)


def _workflow_finished(payload: Payload, data: Payload, envelope: dict[str, str]) -> Event:
    outputs = data.get("outputs")
    return WorkflowFinished(
        workflow_run_id=_text(payload, "workflow_run_id") or _text(data, "id"),
        status=_text(data, "status"),
        error=_error(data),
        outputs=whole(outputs) if isinstance(outputs, dict) else {},
        total_tokens=_whole(data, "total_tokens"),
        files=tuple(files_in(outputs)),
        **envelope,
    )


def _error_event(payload: Payload, _data: Payload, envelope: dict[str, str]) -> Event:
    return ErrorEvent(
        status=_whole(payload, "status") or 500,
        code=_text(payload, "code"),
        message=_text(payload, "message"),
        **envelope,
    )


_READERS: Mapping[str, Callable[[Payload, Payload, dict[str, str]], Event | None]] = {
    "ping": _ping,
    "workflow_started": _workflow_started,
    "workflow_paused": _workflow_paused,
    "workflow_finished": _workflow_finished,
    "node_started": _node_started,
    "node_finished": _node_finished,
    "node_retry": _node_retry,
    "message": _message,
    "text_chunk": _text_chunk,
    "message_replace": _message_replace,
    "message_end": _message_end,
    "message_file": _message_file,
    "agent_message": _agent_message,
    "agent_thought": _agent_thought,
    "reasoning_chunk": _reasoning_chunk,
    "error": _error_event,
}
