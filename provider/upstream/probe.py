"""Finds out what a model can do, by asking it: a few tiny requests side by side, each for one ability, bounded in time.

What cannot be told (the upstream is busy, the time is over) stays open, and the vendor's entry counts. An ability that
the form settles is not asked for.
"""

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from provider.credentials import Credentials
from provider.engine.events import Completed, Delta, UpstreamFailed
from provider.errors import SaidNothing
from provider.upstream import lessons
from provider.upstream.capabilities import Capabilities, Findings, remember
from provider.upstream.client import Upstream

SECONDS = 20.0
"""For all of them together."""

_TOKENS = 1024
"""Enough for a model that thinks first. One that does not needs a few."""

_ANYTHING = Capabilities(
    tools=True,
    native_tools=True,
    streamed_tools=True,
    tool_choice=True,
    structured_output=True,
    vision=True,
    audio=False,
    video=False,
    document=False,
    reasoning=False,
)
_REFUSALS = range(400, 500)
_BUSY = {401, 402, 403, 408, 425, 429}

Answers = dict[str, bool | None]
Question = Callable[[Credentials, str, float], Answers]

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
_RED_SQUARE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAAA1BMVEX/AAAZ4gk3AAAAD0lEQVR42mNgGAWjgHwAAAJA"
    "AAHgTR1EAAAAAElFTkSuQmCC"
)


@dataclass
class Heard:
    """What came back from one request."""

    text: str = ""
    reasoned: bool = False
    called: set[str] = field(default_factory=set)
    counted: bool = False
    failed: UpstreamFailed | None = None

    @property
    def refused(self) -> bool:
        """Whether the upstream does not take such a request, now or ever."""
        status = self.failed.status if self.failed else None
        return status is not None and (status in _REFUSALS or status == 501) and status not in _BUSY


def ask(form: Credentials, model: str, until: float, **fields: Any) -> Heard:
    """Send one small request about Dify's `model` and return what has come by `until`, a time of `time.monotonic`."""
    body = {
        "model": form.upstream_name(model),
        "max_tokens": _TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    heard = Heard()
    seconds = max(1.0, until - time.monotonic())
    with closing(Upstream(form, model, can=_ANYTHING).complete(body | fields, seconds)) as events:
        for event in events:
            match event:
                case Delta():
                    heard.text += event.text
                    heard.reasoned = heard.reasoned or bool(event.reasoning)
                    heard.called |= {
                        name for call in event.tool_calls if (name := (call.get("function") or {}).get("name"))
                    }
                case Completed():
                    heard.counted = event.usage is not None
                case UpstreamFailed() if not isinstance(event.error, SaidNothing):
                    heard.failed = event
            if time.monotonic() > until:
                break
    return heard


def find_out(form: Credentials, model: str, ping: Heard | None = None, seconds: float = SECONDS) -> Findings:
    """Ask what the form leaves open, remember the findings and return them. `ping` is the answer to a plain one."""
    until = time.monotonic() + seconds
    found: Answers = {"usage": ping.counted, "reasoning": ping.reasoned} if ping else {}
    for answers in _side_by_side(_open_questions(form), form, model, until):
        found |= answers
    findings = Findings(**found)
    if any(answer is not None for answer in found.values()):
        remember(form, model, findings)
    return findings


def _open_questions(form: Credentials) -> list[Question]:
    if form.completion_mode != "chat":
        return []
    settled: dict[Question, str] = {
        _tools: form.tool_support,
        _tool_choice: "off" if form.tool_support == "off" else form.tool_choice_support,
        _structured_output: form.structured_output_support,
        _vision: form.vision_support,
    }
    return [question for question, said in settled.items() if said == "auto"]


def _side_by_side(questions: list[Question], form: Credentials, model: str, until: float) -> list[Answers]:
    if not questions:
        return []
    pool = ThreadPoolExecutor(len(questions))
    asked = [pool.submit(question, form, model, until) for question in questions]
    done, _ = wait(asked, timeout=max(0.0, until - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in done if not future.exception()]


def _tools(form: Credentials, model: str, until: float) -> Answers:
    """A model that takes tools and calls none may only be lazy: that says nothing."""
    asked: dict[str, Any] = {"messages": _user("What is the weather in Paris? Call the tool."), "tools": [_TOOL]}
    streamed = ask(form, model, until, **asked)
    if streamed.refused or streamed.failed or streamed.called:
        verdict = _verdict(streamed, bool(streamed.called))
        return {"tools": verdict, "streamed_tools": verdict}
    whole = ask(form, model, until, stream=False, stream_options=None, **asked)
    return {"tools": True, "streamed_tools": False} if whole.called else {}


def _tool_choice(form: Credentials, model: str, until: float) -> Answers:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    heard = ask(form, model, until, messages=_user("Say hello."), tools=[_TOOL], tool_choice=choice)
    if lessons.taught((form.upstream_base_url, form.upstream_name(model)), "tool_choice"):
        return {"tool_choice": False}
    return {"tool_choice": _verdict(heard, bool(heard.called))}


def _structured_output(form: Credentials, model: str, until: float) -> Answers:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": _SCHEMA}}
    heard = ask(form, model, until, messages=_user("Name a colour."), response_format=wanted)
    upstream = (form.upstream_base_url, form.upstream_name(model))
    if any(lessons.taught(upstream, name) for name in ("json_schema", "response_format")):
        return {"structured_output": False}
    return {"structured_output": _verdict(heard, _is_answer(heard.text))}


def _vision(form: Credentials, model: str, until: float) -> Answers:
    parts = [
        {"type": "text", "text": "Which colour is this square? Answer with one word."},
        {"type": "image_url", "image_url": {"url": _RED_SQUARE}},
    ]
    heard = ask(form, model, until, messages=[{"role": "user", "content": parts}])
    # A model that was still thinking when its tokens were used up took the image, at least.
    saw = not heard.text.strip() or bool(re.search(r"\bred\b|红|#?ff0000", heard.text, re.IGNORECASE))
    return {"vision": _verdict(heard, saw)}


def _verdict(heard: Heard, worked: bool) -> bool | None:
    if heard.refused:
        return False
    return None if heard.failed else worked


def _is_answer(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == {"colour"}


def _user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]
