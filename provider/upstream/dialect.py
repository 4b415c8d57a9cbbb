"""How one upstream wants a request that is written in our own terms: its fields, its media, its reasoning."""

from collections.abc import Iterator, Mapping
from typing import Any

from provider.credentials import Credentials
from provider.engine.events import UpstreamFailed
from provider.upstream import lessons, shapes, standing_in
from provider.upstream.capabilities import Capabilities
from provider.upstream.request import FROM_CLIENT
from provider.upstream.vendors import ThinkingDialect, Vendor
from tools.results import Message, text_of


def for_vendor(part: Mapping[str, Any], vendor: Vendor) -> dict[str, Any]:
    """Return one part of a message's content."""
    match part.get("type"):
        case "input_audio" if vendor.audio_as_url:
            sound = part["input_audio"]
            return {"type": "input_audio", "input_audio": sound | {"data": f"data:;base64,{sound['data']}"}}
        case "audio_url" if vendor.audio_as_url:
            return {"type": "input_audio", "input_audio": {"data": part["audio_url"]["url"]}}
        case "file" if vendor.document_as_url:
            return {"type": "file_url", "file_url": {"url": part["file"]["file_data"]}}
        case _:
            return dict(part)


_ON: dict[ThinkingDialect, dict[str, Any]] = {
    "reasoning_effort": {},
    "thinking": {"thinking": {"type": "enabled"}},
    "enable_thinking": {"enable_thinking": True},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
    "reasoning": {"reasoning": {"enabled": True}},
}
_OFF: dict[ThinkingDialect, dict[str, Any]] = {
    "reasoning_effort": {"reasoning_effort": "none"},
    "thinking": {"thinking": {"type": "disabled"}},
    "enable_thinking": {"enable_thinking": False},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    "reasoning": {"reasoning": {"enabled": False}},
}


def thinking_fields(dialect: ThinkingDialect, thinking: bool | None, effort: str | None) -> dict[str, Any]:
    """Return a request's fields. `thinking` None leaves it to the model; an `effort` counts only where it thinks."""
    if thinking is False:
        return dict(_OFF[dialect])
    fields = dict(_ON[dialect]) if thinking else {}
    if not effort:
        return fields
    if dialect == "reasoning":
        return {"reasoning": {"effort": effort}}
    return fields | {"reasoning_effort": effort}


_THINKING = {"thinking", "reasoning_effort"}
_LIMIT = "max_tokens"


class Dialect:
    """One upstream's."""

    def __init__(self, form: Credentials, can: Capabilities) -> None:
        self._form = form
        self._vendor: Vendor = form.vendor
        self._can = can
        self._optional: frozenset[str] = frozenset()
        self._new: list[lessons.Lesson] = []
        self.left_out: list[str] = []
        """What a client asked for and the last body says not or with less, and nobody here does instead."""

    def write(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the body to send."""
        body = dict(request)
        extra = body.pop("extra_body", None) or {}
        asked = set(body.pop(FROM_CLIENT, ()))
        thinking = self._thinking(body)
        # Each vendor's fields say the same as the two of ours.
        if thinking and asked & _THINKING:
            asked = (asked - _THINKING) | thinking.keys()
        body |= thinking
        messages = shapes.plain(body.get("messages") or (), sees=self._can.vision)
        body["messages"] = [self._media(message) for message in messages]
        self._rename_limit(body)
        self._rename_user(body)
        self._choose_stream(body)
        if not self._can.tool_choice:
            body.pop("tool_choice", None)
        body |= self._form.extra_body | extra
        body = {name: value for name, value in body.items() if value is not None}
        self._optional = frozenset(asked - self._form.extra_body.keys() - extra.keys())
        for lesson in lessons.lessons_of(self._upstream(body), self._vendor.lessons, self._new):
            if not lesson.optional or lesson.optional in self._optional:
                body = lesson.write(body)
        if self._form.completion_mode == "completion":
            body = as_completion(body)
        limit = next((body[name] for name in lessons.LIMITS if name in body), 0)
        done = {*lessons.LIMITS, "stop", *(["response_format"] if "messages" in body else ())}
        self.left_out = sorted(asked - body.keys() - done)
        if _LIMIT in asked and limit < request[_LIMIT]:
            self.left_out.append(_LIMIT)
        return body

    def stand_in(
        self, events: Iterator[standing_in.StreamEvent], request: dict[str, Any], body: dict[str, Any]
    ) -> Iterator[standing_in.StreamEvent]:
        """Return the answer to `body` as the request wants it, where the upstream refuses to make it so."""
        stop, wanted = request.get("stop"), request.get("response_format")
        taught = {lesson.name for lesson in lessons.lessons_of(self._upstream(body), new=self._new)}
        events = self._accepted(events, body)
        if stop and "stop" in taught:
            events = standing_in.stopped_at(events, [stop] if isinstance(stop, str) else stop)
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        by_words = {"json_schema": ("json_schema", "response_format"), "json_object": ("response_format",)}
        if isinstance(wanted, dict) and not taught.isdisjoint(by_words.get(str(kind), ())):
            events = standing_in.held_against(events, wanted)
        return events

    def learn(self, body: dict[str, Any], failed: UpstreamFailed) -> str | None:
        """Return the name of what a refusal of `body` taught, None where another try would be refused as well."""
        lesson = lessons.learn(body, failed, self._optional)
        if lesson:
            self._new.append(lesson)
        return lesson.name if lesson else None

    def _accepted(
        self, events: Iterator[standing_in.StreamEvent], body: dict[str, Any]
    ) -> Iterator[standing_in.StreamEvent]:
        """Let what was learned hold for all once the upstream answers."""
        for event in events:
            if self._new and not isinstance(event, UpstreamFailed):
                lessons.remember(self._upstream(body), self._new)
                self._new = [lesson for lesson in self._new if lesson.passing]
            yield event

    def _upstream(self, body: dict[str, Any]) -> tuple[str, str]:
        return self._form.upstream_base_url, str(body.get("model"))

    def _thinking(self, body: dict[str, Any]) -> dict[str, Any]:
        thinking, effort = body.pop("thinking", None), body.pop("reasoning_effort", None)
        said = self._form.reasoning_support
        if said == "none":
            return {}
        dialect: ThinkingDialect = self._vendor.thinking if said == "auto" else said
        return thinking_fields(dialect, thinking, effort)

    def _media(self, message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, list):
            return message | {"content": [for_vendor(part, self._vendor) for part in content]}
        return message

    def _rename_limit(self, body: dict[str, Any]) -> None:
        limit = next((body.pop(name) for name in lessons.LIMITS if name in body), None)
        if limit is not None:
            body[token_field(str(body.get("model")), self._form)] = min(limit, self._form.max_output_tokens)

    def _rename_user(self, body: dict[str, Any]) -> None:
        user = body.pop("user", None)
        if user and self._form.send_user == "on":
            body[self._vendor.user_field] = user

    def _choose_stream(self, body: dict[str, Any]) -> None:
        whole = self._form.streaming == "off" or (bool(body.get("tools")) and not self._can.streamed_tools)
        if whole:
            body["stream"] = False
        if whole or self._form.streaming == "without_usage":
            body.pop("stream_options", None)


def token_field(model: str, form: Credentials) -> str:
    """Return what the upstream calls the limit on its answer."""
    if form.token_field != "auto":  # noqa: S105 - no secret
        return form.token_field
    bare = model.rpartition("/")[2].lower()
    return "max_completion_tokens" if bare.startswith(form.vendor.completion_tokens) else "max_tokens"


_ONLY_CHAT = {
    "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "thinking",
}  # fmt: skip
_SPEAKERS = {"assistant": "Assistant", "tool": "Tool"}


def as_completion(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request for `/completions`: one message is the prompt as it is, more become a dialogue to go on with."""
    messages = body["messages"]
    written = {name: value for name, value in body.items() if name not in _ONLY_CHAT}
    if len(messages) == 1:
        return written | {"prompt": text_of(messages[0].get("content"))}
    leading = [text_of(message.get("content")) for message in messages if message["role"] in {"system", "developer"}]
    turns = [
        f"{_SPEAKERS.get(message['role'], 'User')}: {text_of(message.get('content'))}"
        for message in messages
        if message["role"] not in {"system", "developer"}
    ]
    return written | {"prompt": "\n\n".join([*leading, *turns, "Assistant:"])}
