"""What a client sees of an app's answer: text and reasoning, calls that are still being written, and usage.

A client puts the pieces of a call together and runs it once the response ends with `tool_calls`. So a response may end
that way only where every call that it began is whole: drafts are told of one invocation at a time, a ticket of another
one waits meanwhile, and the calls of the ticket must begin as the drafts did.
"""

import json
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from bridge.config import App
from bridge.errors import BridgeError
from bridge.runs.answers.guards import Chain, DataGuard, Guard
from bridge.runs.requests import RunRequest
from bridge.runs.segments import Draft, Reasoning, Text
from bridge.runs.services import in_pieces
from bridge.runs.sessions.openclaw import is_from_openclaw
from bridge.runs.transcripts import grown, once
from bridge.store.rows import TicketRow
from tools.calls import ToolCall
from tools.definitions import ToolDefinition
from tools.results import Message, text_of
from tools.think_tags import ThinkTags
from tools.wire import DraftDelta, Usage


class Drafts:
    """The drafts of one run."""

    def __init__(self) -> None:
        self._writer: str | None = None
        self._told: dict[str, str] = {}
        self._rounds: dict[str, int] = {}

    def take(self, invocation_id: str, round_: int, deltas: Sequence[DraftDelta]) -> list[Draft]:
        """Return what is new of them. What comes late, twice or after a gap is left to the ticket."""
        if self._writer not in (None, invocation_id) or round_ <= self._rounds.get(invocation_id, -1):
            return []
        fresh: list[Draft] = []
        for delta in deltas:
            told = self._told.get(delta.id)
            if delta.offset != len(told or ""):
                continue
            self._writer = invocation_id
            self._told[delta.id] = (told or "") + delta.arguments
            fresh.append(Draft(delta.id, delta.name, delta.arguments))
        return fresh

    def __bool__(self) -> bool:
        return bool(self._told)

    def keep_waiting(self, ticket: TicketRow) -> bool:
        """Say whether another invocation is writing, so that this ticket has to wait."""
        return self._writer not in (None, ticket.invocation_id)

    def belongs_to(self, invocation_id: str) -> bool:
        """Say whether this invocation is writing."""
        return self._writer == invocation_id

    def are_completed_by(self, ticket: TicketRow) -> bool:
        """Whether the ticket completes every draft."""
        # A call that the client is not given must not be one that it was told of.
        calls = {call.id: call.arguments for call in ticket.handed_out()}
        return all(calls.get(call_id, "").startswith(told) and call_id in calls for call_id, told in self._told.items())

    def end(self, ticket: TicketRow) -> None:
        """The ticket's round is over, and so are its drafts."""
        self._rounds[ticket.invocation_id] = ticket.round
        self.clear()

    def clear(self) -> None:
        """The response is over."""
        self._writer = None
        self._told.clear()


_BYTES_PER_TOKEN = (
    (string.ascii_letters.encode(), 4.2),
    (string.digits.encode(), 2.0),
    (string.punctuation.encode(), 2.2),
    (string.whitespace.encode(), 10.0),
)
_OTHER_BYTES_PER_TOKEN = 3.6

_PER_MESSAGE = 4
_PER_CALL = 8
_PER_REPLY = 3
_PER_MEDIA = 765
"""What OpenAI counts for an image of 1024 x 1024 pixels."""
_PER_SMALL_IMAGE = 85
"""What OpenAI counts for an image with `detail: low`, whatever its size."""


def tokens(text: str) -> int:
    """Estimate the tokens of `text`."""
    rest = text.encode("utf-8", "replace")
    total = 0.0
    for kind, bytes_per_token in _BYTES_PER_TOKEN:
        left = rest.translate(None, kind)
        total += (len(rest) - len(left)) / bytes_per_token
        rest = left
    return math.ceil(total + len(rest) / _OTHER_BYTES_PER_TOKEN)


def prompt_tokens(messages: Sequence[Message], tools: Iterable[ToolDefinition] = ()) -> int:
    """Estimate the tokens of a request's messages and tool definitions, as OpenAI would count them."""
    definitions = (json.dumps(tool.to_openai()["function"], ensure_ascii=False) for tool in in_pieces(tools))
    offered = sum(tokens(definition) for definition in definitions)
    return _PER_REPLY + offered + _transcript_tokens(messages)


@grown(0)
def _transcript_tokens(before: int, messages: Sequence[Message], count: int) -> int:
    return before + sum(_message_tokens(message) for message in in_pieces(messages[count:]))


def estimate(
    messages: Sequence[Message], tools: Sequence[ToolDefinition], answer: str, calls: Iterable[ToolCall] = ()
) -> Usage:
    """Estimate the usage of one response: `answer` and `calls` are what it told its client."""
    written = tokens(answer) + sum(_PER_CALL + tokens(call.name) + tokens(call.arguments) for call in calls)
    return Usage(prompt_tokens=prompt_tokens(messages, tools), completion_tokens=written)


@once
def _message_tokens(message: Message) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    media = sum(_media_tokens(part) for part in parts if isinstance(part, dict))
    calls = message.get("tool_calls")
    asked = sum(_call_tokens(call) for call in calls if isinstance(call, dict)) if isinstance(calls, list) else 0
    return _PER_MESSAGE + tokens(text_of(content)) + media + asked


def _call_tokens(call: Mapping[str, Any]) -> int:
    function = call.get("function")
    if not isinstance(function, dict):
        return _PER_CALL
    return _PER_CALL + tokens(str(function.get("name") or "")) + tokens(str(function.get("arguments") or ""))


def _media_tokens(part: Mapping[str, Any]) -> int:
    """Count what is no text by the piece: its base64 says nothing about its tokens."""
    if isinstance(part.get("text"), str):
        return 0
    image = part.get("image_url")
    small = isinstance(image, dict) and image.get("detail") == "low"
    return _PER_SMALL_IMAGE if small else _PER_MEDIA


_LONGEST_PIECE = 1024
"""Some characters take a guard some hundredths of a millisecond each: others go on between such pieces."""

Guarded = Literal["all", "calls", "nothing"]
Form = Literal["text", "data", "checked_data"]
"""What an answer is: text, or data that is never changed; data is checked where its client may be OpenClaw."""


class AnswerView:
    """Shows the text of one response, piece by piece."""

    def __init__(self, *, guarded: Guarded = "all", reasoning_apart: bool = True, form: Form = "text") -> None:
        self._guard = _guard_of(guarded, form)
        self._reasoning_apart = reasoning_apart
        self._tags = ThinkTags()
        self._node = ""
        # To end a block looks at all of it, and reasoning may come in thousands of pieces.
        self._block = False

    def feed(self, text: str, node_id: str = "") -> list[Text | Reasoning]:
        """Take a piece that this node wrote, and return what is shown of it by now."""
        if not self._reasoning_apart:
            return self._text(text)
        before: list[Text | Reasoning] = []
        if node_id != self._node:
            # Each node's reasoning stands before its own text.
            before = self._show(*self._tags.close())
            self._tags, self._node = ThinkTags(), node_id
        return [*before, *self._show(*self._tags.feed(text))]

    def reasoning(self, text: str) -> list[Text | Reasoning]:
        """Take a piece of reasoning that came apart from the text, and return what is shown by now."""
        if not self._block:
            return [Reasoning(text)]
        self._block = False
        return [*_texts(self._guard.end_block()), Reasoning(text)]

    def close(self) -> list[Text | Reasoning]:
        """Return what was still held back, once nothing more comes."""
        shown = self._show(*self._tags.close())
        return [*shown, *_texts(self._guard.close())]

    @property
    def refusal(self) -> BridgeError | None:
        """Why the response must not be told to its end: asked before `close`, once nothing more comes."""
        return self._guard.refusal

    def _show(self, reasoning: str, text: str) -> list[Text | Reasoning]:
        told = self.reasoning(reasoning) if reasoning else []
        return [*told, *self._text(text)]

    def _text(self, text: str) -> list[Text | Reasoning]:
        self._block = self._block or bool(text)
        pieces = (text[at : at + _LONGEST_PIECE] for at in range(0, len(text), _LONGEST_PIECE))
        return _texts("".join(map(self._guard.feed, in_pieces(pieces, looked=1))))


def _guard_of(guarded: Guarded, form: Form) -> Guard:
    if guarded == "nothing" or form == "data":
        return Chain(())
    return DataGuard(guarded) if form == "checked_data" else Chain.of(guarded)


def view_of(app: App | None, auxiliary: str | None, form: Form = "text") -> AnswerView:
    """Return the view that an app's configuration asks for. OpenClaw's own calls are answered with orders."""
    guard_text = app.guard_text if app else True
    guarded: Guarded = "nothing" if guard_text is False else "calls" if guard_text == "calls" or auxiliary else "all"
    apart = app is None or app.reasoning == "separate"
    return AnswerView(guarded=guarded, reasoning_apart=apart, form=form)


def form_of(request: RunRequest) -> Form:
    """Return what a run's answer is, by what its client asked for."""
    if "response_format" not in request.parameters:
        return "text"
    return "checked_data" if request.tools or is_from_openclaw(request.messages) else "data"


def _texts(text: str) -> list[Text | Reasoning]:
    return [Text(text)] if text else []
