"""One small run through everything: the endpoint, Dify, the plugin, the upstream, and back.

It goes by as auxiliary, so that it has a Dify conversation of its own.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from bridge.api.plugin_requests import Visit
from bridge.runs.sessions.sessions import AUXILIARY_HEADER
from bridge.server.serving import Serving

KIND = "probe"
_SECONDS = 180.0
_ROUNDS = 3
_QUESTION = "This is a test of the connection. Answer with one word: ready"
_TOOL = {
    "type": "function",
    "function": {
        "name": "clawback_probe",
        "description": "Does nothing. Do not call it.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@dataclass(frozen=True, slots=True)
class Probed:
    """How the run went: its answer, or the error that a client would have seen, and what the bridge saw of it."""

    text: str = ""
    note: str = ""
    code: str = ""
    error: str = ""
    seconds: float = 0.0
    visits: list[Visit] = field(default_factory=list)


def probe(bridge: Serving, model: str) -> Probed:
    """Run it. A bridge that cannot be asked is told as an error, too."""
    began, clock = time.time(), time.monotonic()
    headers = {"Authorization": f"Bearer {bridge.token}", AUXILIARY_HEADER: KIND}
    with httpx.Client(base_url=bridge.url, headers=headers, timeout=_SECONDS, trust_env=False) as http:
        try:
            told = _converse(http, model)
            seen = http.get("/doctor/v1/visits", params={"since": began}).json()["visits"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return Probed(error=f"The bridge did not answer: {error or type(error).__name__}")
    visits = [Visit(**visit) for visit in seen]
    own = [visit for visit in visits if visit.run_id is None or visit.auxiliary == KIND]
    return Probed(**told, seconds=time.monotonic() - clock, visits=own)


def _converse(http: httpx.Client, model: str) -> dict[str, Any]:
    """Ask, and if the model calls the tool all the same, answer that."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    for _ in range(_ROUNDS):
        body = {"model": model, "messages": messages, "tools": [_TOOL], "tool_choice": "none"}
        answer = http.post("/v1/chat/completions", json=body).json()
        if "error" in answer:
            return {"error": str(answer["error"]["message"]), "code": str(answer["error"].get("code") or "")}
        message = answer["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        if not calls:
            break
        messages += [message, *({"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in calls)]
    note = (answer.get("clawback") or {}).get("note")
    return {"text": message.get("content") or "(calls)", "note": note or ""}
