"""Does here what an upstream refused to do: it ends an answer at a stop word, and holds one against a format."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from provider.engine.events import Completed, Delta, UpstreamFailed
from provider.errors import Refused
from tools.arguments import checked
from tools.results import Message, text_of

StreamEvent = Delta | Completed | UpstreamFailed

NOT_AS_ASKED = (
    "The upstream takes no response_format, so the model was asked for JSON in words, and its answer is none that fits"
)


def in_words(messages: Sequence[Message], wanted: dict[str, Any]) -> list[Message]:
    """Return the messages with a response format as an instruction."""
    schema = schema_of(wanted)
    said = "Answer with a JSON object alone: no other words, no code fence."
    if schema:
        said += f" It must fit this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
    first = messages[0] if messages and messages[0]["role"] == "system" else None
    texts = [text_of(first["content"]), said] if first else [said]
    return [{"role": "system", "content": "\n\n".join(texts)}, *(messages[1:] if first else messages)]


def schema_of(wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a response format, if it has one."""
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


def held_against(events: Iterator[StreamEvent], wanted: dict[str, Any]) -> Iterator[StreamEvent]:
    """Yield an answer once it is whole and fits the format; one with calls is left as it is."""
    held: list[Delta] = []
    for event in events:
        if isinstance(event, Delta):
            held.append(event)
            if event.reasoning:
                yield replace(event, text="", tool_calls=())
            continue
        rest = [replace(delta, reasoning="") for delta in held]
        if isinstance(event, Completed) and event.finish_reason == "stop" and not any(d.tool_calls for d in held):
            found = checked("".join(delta.text for delta in held), schema_of(wanted))
            if found.problem:
                yield UpstreamFailed(Refused(f"{NOT_AS_ASKED}: {found.problem}"))
                return
            rest = [Delta(text=found.arguments)]
        yield from rest
        yield event


def stopped_at(events: Iterator[StreamEvent], words: Sequence[str]) -> Iterator[StreamEvent]:
    """Yield an answer up to the first of the stop words. What may be a word's beginning is held back."""
    words, held = [word for word in words if word], ""
    for event in events:
        if not isinstance(event, Delta):
            if held:
                yield Delta(text=held)
            yield event
            return
        text = held + event.text
        ends = [place for word in words if (place := text.find(word)) >= 0]
        if ends:
            yield replace(event, text=text[: min(ends)], tool_calls=())
            yield Completed("stop")
            return
        size = max((size for word in words for size in range(1, len(word)) if text.endswith(word[:size])), default=0)
        held = text[len(text) - size :]
        yield replace(event, text=text[: len(text) - size])
