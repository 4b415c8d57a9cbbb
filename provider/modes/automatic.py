"""Structured, and text where the model wants or writes text."""

import logging
from collections.abc import Sequence
from typing import Any

from provider.engine.events import Delta, UpstreamFailed
from provider.errors import ContextTooLong
from provider.modes.mode import Decoder, Mode, Prompt, Reply
from provider.modes.openclaw_text import OpenclawText, calls_in_thought, calls_of, text_reader, too_much
from provider.modes.structured import Structured, StructuredDecoder
from provider.upstream.wordings import tells_no_tools
from tools.calls import Draft
from tools.definitions import ToolDefinition
from tools.openclaw_text.events import BrokenCall, Event, Text

log = logging.getLogger(__name__)

_without_tools: set[tuple[str, str]] = set()
"""The upstreams (address and model) that have refused `tools` since this process began."""


class Automatic:
    """Begins structured. An upstream that refuses `tools` gets them as text from then on.

    `promote` says whether a structured answer that is nothing but text calls is taken for those calls.
    One object serves one invocation: it remembers how the last request was written, whatever others learn meanwhile.
    """

    def __init__(self, base_url: str, model: str, text: OpenclawText, *, promote: bool = True) -> None:
        self._upstream = (base_url, model)
        self._promote = promote
        self._structured = Structured()
        self._text = text
        self._used: Mode = self._structured

    def encode(self, prompt: Prompt) -> dict[str, Any]:
        """Return the request of whichever mode this upstream understands."""
        self._used = self._mode(prompt)
        return self._used.encode(prompt)

    def decoder(self, prompt: Prompt) -> Decoder:
        """Return a decoder of whichever mode this upstream understands."""
        mode = self._mode(prompt)
        if mode is self._text:
            return mode.decoder(prompt)
        promotes = self._promote and prompt.known and not prompt.data
        return PromotingDecoder(prompt.known) if promotes else StructuredDecoder()

    def instead(self, prompt: Prompt, failed: UpstreamFailed) -> Mode | None:
        """Return the text mode where the upstream refused the tools."""
        if not _uses_tools(prompt) or self._used is self._text or not _refuses_tools(failed):
            return None
        log.warning("this upstream refuses tools, so they go as text from now on: %s", failed.error)
        _without_tools.add(self._upstream)
        return self._text

    def _mode(self, prompt: Prompt) -> Mode:
        return self._text if self._upstream in _without_tools and _uses_tools(prompt) else self._structured


def _uses_tools(prompt: Prompt) -> bool:
    return bool(prompt.tools) or any(message.get("role") == "tool" for message in prompt.messages)


def _refuses_tools(failed: UpstreamFailed) -> bool:
    return not isinstance(failed.error, ContextTooLong) and tells_no_tools(failed.status, str(failed.error))


class PromotingDecoder:
    """A structured decoder that takes an answer which is nothing but text calls, and thoughts, for those calls.

    Text is held back only as long as nothing but these has come: the first other word shows it all, and what follows
    passes through unread. Thoughts are shown as they come, up to the first call.
    """

    def __init__(self, known: Sequence[ToolDefinition]) -> None:
        self._structured = StructuredDecoder()
        self._known = known
        self._reader = text_reader(known)
        self._held: list[str] = []
        self._said = ""
        self._showing = True
        self._events: list[Event] = []
        self._reasoning: list[str] = []
        self._reading = True

    def feed(self, delta: Delta) -> str:
        """Take a delta and return the text that is no call."""
        text = self._structured.feed(delta)
        if not self._reading:
            return text
        self._reasoning.append(delta.reasoning)
        self._held.append(text)
        events = self._reader.feed(text)
        if delta.tool_calls or self._reader.spoke or _broken(events):
            return self._release()
        shown = self._show(events) if self._showing and not self._events else ""
        self._events += [event for event in events if not isinstance(event, Text)]
        return shown

    def drafts(self) -> Sequence[Draft]:
        """Return the structured calls as far as they are written."""
        return self._structured.drafts()

    def close(self) -> Reply:
        """Return the structured calls, or else the text's, or the rest of the text."""
        reply = self._structured.close()
        if not self._reading:
            return reply
        self._events += self._reader.close()
        if refusal := too_much(self._events):
            return Reply(refusal=refusal)
        calls, problems = calls_of(self._events)
        if reply.calls or problems or self._reader.spoke:
            return Reply(self._release(), reply.calls)
        if not calls and not "".join(self._held).strip():
            calls, problems = calls_in_thought("".join(self._reasoning), self._known)
        return Reply(calls=calls, problems=problems) if calls else Reply(self._release())

    def _show(self, events: Sequence[Event]) -> str:
        """Return the text of a thought, where it is what the model wrote to the letter."""
        self._said += "".join(event.text for event in events if isinstance(event, Text))
        if not self._said.strip():
            return ""
        held = "".join(self._held)
        if not held.startswith(self._said):
            self._showing = False
            return ""
        said, self._said, self._held = self._said, "", [held[len(self._said) :]]
        return said

    def _release(self) -> str:
        self._reading = False
        return "".join(self._held)


def _broken(events: Sequence[Event]) -> bool:
    return any(isinstance(event, BrokenCall) for event in events)
