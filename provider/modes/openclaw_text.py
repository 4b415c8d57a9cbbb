"""In the text, for models that know no tools."""

import json
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from provider.engine.events import Delta, UpstreamFailed
from provider.modes.mode import Decoder, Mode, Prompt, Reply
from tools.calls import Draft, ToolCall, ToolCallAssembler
from tools.definitions import ToolDefinition
from tools.ids import new_tool_call_id
from tools.openclaw_text.events import BrokenCall, CallFinished, CallsWithdrawn, Event, Text, TooMuch
from tools.openclaw_text.families import family_of
from tools.openclaw_text.reader import Reader
from tools.openclaw_text.text_transcript import to_text_messages

log = logging.getLogger(__name__)

# The definitions may take this part of the model's context.
_SHARE = 4

_told: set[str] = set()
"""The warnings that the log holds already: each round of each invocation would repeat them."""


class OpenclawText:
    """Definitions in the system message, calls and results in the text, in the form that the model has learned."""

    def __init__(self, model: str, context_size: int) -> None:
        self._family = family_of(model)
        self._budget = context_size // _SHARE

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return `messages` alone."""
        request = to_text_messages(
            prompt.messages,
            [tool.to_openai() for tool in prompt.tools],
            prompt.choice,
            self._family,
            budget_tokens=self._budget,
            parallel=prompt.parallel is not False,
        )
        for warning in request.warnings:
            _warn_once(warning)
        return {"messages": request.messages}

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return a decoder that finds calls of the known tools in the text."""
        return _TextDecoder(prompt.known)

    def instead(self, prompt: Prompt, failed: UpstreamFailed) -> Mode | None:
        """Return None: there is no simpler mode."""
        return None


def _warn_once(warning: str) -> None:
    if warning not in _told:
        _told.add(warning)
        log.warning("%s", warning)


class _TextDecoder:
    def __init__(self, known: Sequence[ToolDefinition]) -> None:
        self._known = known
        self._reader = text_reader(known)
        self._native = ToolCallAssembler()
        self._events: list[Event] = []
        self._reasoning: list[str] = []

    def feed(self, delta: Delta) -> str:
        self._reasoning.append(delta.reasoning)
        for entry in delta.tool_calls:
            self._native.feed(entry)
        return self._take(self._reader.feed(delta.text))

    def drafts(self) -> Sequence[Draft]:
        """Return nothing: a call in the text is one only at its end."""
        return ()

    def close(self) -> Reply:
        text = self._take(self._reader.close())
        calls, problems = calls_of(self._events)
        if not calls and not self._reader.spoke:
            calls, problems = calls_in_thought("".join(self._reasoning), self._known)
        # Some servers make calls of the text that they were asked for.
        calls = calls or self._native.calls()
        return Reply(text, calls, problems, too_much(self._events))

    def _take(self, events: list[Event]) -> str:
        self._events += [event for event in events if not isinstance(event, Text)]
        return "".join(event.text for event in events if isinstance(event, Text))


def text_reader(known: Sequence[ToolDefinition]) -> Reader:
    """Return a reader that recognises the calls of these tools."""
    return Reader([tool.to_openai() for tool in known])


def calls_in_thought(reasoning: str, known: Sequence[ToolDefinition]) -> tuple[list[ToolCall], dict[str, str]]:
    """Return the calls with which a thought ends that nothing follows: some servers count a call as part of it."""
    reader = text_reader(known)
    events = [*reader.feed(f"<think>{reasoning}"), *reader.close()]
    spoken = [event for event in events if not isinstance(event, Text) or event.text.strip()]
    return calls_of([] if isinstance(spoken[-1], Text) else spoken)


def calls_of(events: Iterable[Event]) -> tuple[list[ToolCall], dict[str, str]]:
    """Return the calls, and by their ids what is wrong with those that cannot be made."""
    calls: list[ToolCall] = []
    problems: dict[str, str] = {}
    for event in events:
        if isinstance(event, CallsWithdrawn):
            calls.clear()
        if not isinstance(event, CallFinished | BrokenCall):
            continue
        arguments = json.dumps(event.arguments or {}, ensure_ascii=False)
        calls.append(ToolCall(id=new_tool_call_id(), name=event.name, arguments=arguments))
        if isinstance(event, BrokenCall):
            problems[calls[-1].id] = f"{event.reason}. Nothing was run."
    return calls, problems


def too_much(events: Iterable[Event]) -> str:
    """Say what an answer calls too much of; nothing where it does not."""
    reasons = (event.reason for event in events if isinstance(event, TooMuch))
    return next((f"the model's answer cannot be taken: {reason}. Nothing was run." for reason in reasons), "")
