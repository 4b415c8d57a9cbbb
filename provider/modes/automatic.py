"""Structured, and text where the model wants or writes text."""

import logging
import re
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
from tools.openclaw_text.openers import announces

log = logging.getLogger(__name__)

_without_tools: set[tuple[str, str]] = set()
"""The upstreams (address and model) that have refused `tools` since this process began."""


class Automatic:
    """Begins structured. An upstream that refuses `tools` gets them as text from then on.

    `promote` says whether text calls with which a structured answer ends are taken for calls.
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
        log.warning("this upstream refuses tools, so they go as text: %s", failed.error)
        if prompt.tools:
            # Refused without them, the calls of the dialogue are what it does not take.
            _without_tools.add(self._upstream)
        return self._text

    def _mode(self, prompt: Prompt) -> Mode:
        return self._text if self._upstream in _without_tools and _uses_tools(prompt) else self._structured


def _uses_tools(prompt: Prompt) -> bool:
    return bool(prompt.tools) or any(message.get("role") == "tool" for message in prompt.messages)


def _refuses_tools(failed: UpstreamFailed) -> bool:
    return not isinstance(failed.error, ContextTooLong) and tells_no_tools(failed.status, str(failed.error))


_LINE = re.compile(r"(?:\A|\n)[ \t]{0,3}(?=[<\[\]])")
_NOTED = re.compile(r"[<\[\]\n`]")
_MOST_READ = 8
"""So often a text that begins with what announces a call is read, and is none: a model that goes on so shows how."""


class PromotingDecoder:
    """A structured decoder that takes the text calls with which an answer ends for calls.

    An answer that is nothing but calls, and thoughts, is held back as long as nothing else has come: the first other
    word shows it all. Behind words the text is read from a line on that may begin with a call, and what is read there
    is one only where a tag or a token announces it. Thoughts are shown as they come, up to the first call.
    """

    def __init__(self, known: Sequence[ToolDefinition]) -> None:
        self._structured = StructuredDecoder()
        self._known = known
        self._reasoning: list[str] = []
        self._spoken = self._ended = False
        self._line_is_blank = True
        self._backticks = self._reads = 0
        self._read()

    def _read(self) -> None:
        self._reader = text_reader(self._known)
        self._held: list[str] = []
        self._said = ""
        self._showing = True
        self._events: list[Event] = []
        self._reading = True

    def feed(self, delta: Delta) -> str:
        """Take a delta and return the text that is no call."""
        text = self._structured.feed(delta)
        self._ended = self._ended or bool(delta.tool_calls)
        if not self._spoken:
            self._reasoning.append(delta.reasoning)
        elif not (self._reading or _NOTED.search(text)):
            self._line_is_blank = self._line_is_blank and not text.strip()
            return text
        return self._take(text)

    def _take(self, text: str) -> str:
        before = ""
        if not self._reading:
            start = self._opener(text)
            before = self._pass(text[:start])
            if start == len(text):
                return before
            self._read()
            text = text[start:]
        self._held.append(text)
        events = self._reader.feed(text)
        if self._ended or self._is_said() or _broken(events):
            return before + self._release()
        shown = self._show(events) if self._showing and not self._events else ""
        self._events += [event for event in events if not isinstance(event, Text)]
        return before + self._pass(shown)

    def _opener(self, text: str) -> int:
        """Return where a line begins that may begin with a call, or the text's end. In code none does."""
        for found in _LINE.finditer(text) if not self._ended else ():
            at_line = found.start() > 0 or text[0] == "\n" or self._line_is_blank
            in_code = (self._backticks + text.count("`", 0, found.end())) % 2
            if at_line and not in_code and announces(text, found.end()):
                return found.end()
        return len(text)

    def _pass(self, text: str) -> str:
        """Show text, and note whether a line begins behind it and whether it ends in code."""
        _, line_end, line = text.rpartition("\n")
        self._line_is_blank = (self._line_is_blank or bool(line_end)) and not line.strip()
        self._backticks += text.count("`")
        return text

    def _is_said(self) -> bool:
        """Say whether what was read is no call: words, or behind words what nothing announces as one."""
        return self._reader.spoke or (self._spoken and not self._reader.announced)

    def drafts(self) -> Sequence[Draft]:
        """Return the structured calls as far as they are written."""
        return self._structured.drafts()

    def close(self) -> Reply:
        """Return the structured calls, or else the text's, or the rest of the text."""
        reply = self._structured.close()
        if not self._reading:
            return reply
        self._events += self._reader.close()
        self._ended = True
        if refusal := too_much(self._events):
            return Reply(refusal=refusal)
        calls, problems = calls_of(self._events)
        if reply.calls or problems or self._is_said():
            return Reply(self._release(), reply.calls)
        if not calls and not self._spoken and not "".join(self._held).strip():
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
        """Show what was held back. What was spoken first may have a call behind it already."""
        self._reading, self._spoken = False, True
        self._reads += 1
        self._ended = self._ended or self._reads > _MOST_READ
        held = "".join(self._held)
        line = len(held) if self._ended else held.find("\n") + 1
        return self._pass(held[:line]) + self._take(held[line:]) if line else self._pass(held)


def _broken(events: Sequence[Event]) -> bool:
    return any(isinstance(event, BrokenCall) for event in events)
