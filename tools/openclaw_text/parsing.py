"""A whole text at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tools.openclaw_text.events import BrokenCall, CallFinished, CallsWithdrawn, Event, Text
from tools.openclaw_text.reader import Reader


def parse(chunks: Iterable[str], tools: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Read text that came in `chunks`, given tool definitions in OpenAI's form.

    Returns `content`, the text to show or None, and `calls`, a list of `name` and `arguments`: what the model called,
    also where the schema refuses the arguments. A call that cannot be read is text.
    """
    reader = Reader(tools)
    events: list[Event] = [event for chunk in chunks for event in reader.feed(chunk)]
    events += reader.close()
    shown: list[str] = []
    calls: list[dict[str, Any]] = []
    for event in events:
        match event:
            case Text():
                shown.append(event.text)
            case CallsWithdrawn():
                calls.clear()
            case CallFinished():
                calls.append({"name": event.name, "arguments": event.arguments})
            case BrokenCall() if event.arguments is not None:
                calls.append({"name": event.name, "arguments": event.arguments})
            case BrokenCall():
                shown.append(event.raw)
    return {"content": "".join(shown) or None, "calls": calls}
