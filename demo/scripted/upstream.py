"""The whole upstream as a function: a request's bytes in, a plan of bytes, pauses and failures out. No I/O."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from demo.scripted.answer import Answer
from demo.scripted.memory import Memory
from demo.scripted.models import MODELS, find_model
from demo.scripted.play import play
from demo.scripted.refusal import Form, Refusal
from demo.scripted.request import Request
from demo.scripted.script import Cut, Fail, Sleep
from demo.scripted.strict import read_request
from demo.scripted.wire import Envelope, Send, Step, body_steps, failure, stream_steps, tool_call_of


@dataclass(frozen=True)
class Plan:
    """How to answer one request: wait `delay` seconds, send status and headers, then do the steps in order.

    `record` is what the log shows of it.
    """

    status: int
    headers: dict[str, str]
    steps: Iterable[Step]
    record: dict[str, Any] = field(default_factory=dict)
    delay: float = 0


def respond(raw: bytes, memory: Memory) -> Plan:
    """The answer to the body of a `POST /v1/chat/completions`."""
    try:
        request = read_request(raw)
        return _plan(request, play(request, memory), memory)
    except Refusal as refusal:
        return refuse(refusal, form=_form_of(raw))
    except RecursionError:
        return refuse(Refusal("The request is nested too deeply."))


def _form_of(raw: bytes) -> Form:
    """How the model that this request names writes errors."""
    try:
        return find_model(json.loads(raw)["model"]).quirks.form
    except (Refusal, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "openai"


def list_models() -> dict[str, Any]:
    """The body of `GET /v1/models`."""
    models = [{"id": name, "object": "model", "created": 1735689600, "owned_by": "scripted"} for name in MODELS]
    return {"object": "list", "data": models}


def refuse(refusal: Refusal, headers: dict[str, str] | None = None, delay: float = 0, form: Form = "openai") -> Plan:
    """The plan that answers with an error."""
    body = json.dumps(refusal.body_in(form)).encode()
    status = 200 if form == "base_resp" else refusal.status
    return Plan(status, _json_headers(len(body)) | (headers or {}), [Send(body)], refusal.body(), delay)


def _plan(request: Request, answer: Answer, memory: Memory) -> Plan:
    envelope = Envelope(
        memory.new_id("chatcmpl-"),
        int(memory.clock()),
        request.model.name,
        request.stream and request.include_usage,
        logprobs=request.logprobs,
    )
    fails = [piece for piece in answer.pieces if isinstance(piece, Fail)]
    if request.stream and not (fails and answer.pieces[0] is fails[0]):
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        return Plan(200, headers, stream_steps(answer, envelope), _record(answer), answer.delay)
    delay = answer.delay + sum(piece.seconds for piece in answer.pieces if isinstance(piece, Sleep))
    if fails:
        return refuse(failure(fails[0]), _retry_after(fails[0]), delay, request.model.quirks.form)
    headers = _json_headers(len(envelope.completion(answer)))
    return Plan(200, headers, body_steps(answer, envelope), _record(answer), delay)


def _json_headers(length: int) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Length": str(length)}


def _retry_after(fail: Fail) -> dict[str, str]:
    seconds = 1.0 if fail.retry_after is None and fail.status == 429 else fail.retry_after
    return {} if seconds is None else {"Retry-After": f"{seconds:g}"}


def _record(answer: Answer) -> dict[str, Any]:
    return {
        "content": answer.content,
        "reasoning_content": answer.reasoning,
        "tool_calls": [tool_call_of(call) for call in answer.calls],
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
        "cut": any(isinstance(piece, Cut) for piece in answer.pieces),
    }
