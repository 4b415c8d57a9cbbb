"""A small client of the bridge: asks, runs the tools it is asked to run, and asks again until there is an answer."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.local_tools import LocalTools

MAX_ROUNDS = 20


def session_headers(name: str) -> dict[str, str]:
    """Return what OpenClaw says of its session, where its provider entry has sendSessionAffinityHeaders."""
    return {"X-Session-Affinity": name, "X-Client-Request-Id": name}


@dataclass
class Reply:
    """One response of the bridge: text, or tool calls as they came, and how it ended."""

    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    run: str = ""


@dataclass
class Outcome:
    """How a turn went: what was said last, and how many HTTP requests it took."""

    reply: Reply
    http_requests: int
    runs: list[str]


class ClientError(Exception):
    """The bridge answered with an error."""


def _silent(_kind: str, _detail: Any) -> None:
    pass


class Client:
    """An OpenAI client with local tools. `tell` hears of each step: request, text, calls, result."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        tools: LocalTools,
        *,
        session: str | None = None,
        tell: Callable[[str, Any], None] = _silent,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}", **(session_headers(session) if session else {})}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=httpx.Timeout(10, read=120))
        self._model = model
        self._tools = tools
        self._tell = tell
        self.messages: list[dict[str, Any]] = []

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def begin(self, text: str) -> Reply:
        """Say `text` and return the first response, without doing what it asks for. Raises ClientError."""
        self.messages.append({"role": "user", "content": text})
        return self._request()

    def ask(self, text: str) -> Outcome:
        """Say `text` and do what the answer asks for. Raises ClientError."""
        self.messages.append({"role": "user", "content": text})
        runs: list[str] = []
        for number in range(1, MAX_ROUNDS + 1):
            self._tell("request", self.messages[-1])
            reply = self._request()
            runs.append(reply.run)
            if not reply.calls:
                self.messages.append({"role": "assistant", "content": reply.text})
                return Outcome(reply, number, list(dict.fromkeys(runs)))
            self.messages.append({"role": "assistant", "content": reply.text or None, "tool_calls": reply.calls})
            self._tell("calls", reply.calls)
            self.messages.extend(self._run(reply.calls))
        raise ClientError(f"no answer after {MAX_ROUNDS} rounds")

    def _run(self, calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        def run(call: dict[str, Any]) -> str:
            return self._tools.run(call["function"]["name"], json.loads(call["function"]["arguments"]))

        with ThreadPoolExecutor(len(calls)) as pool:
            for call, output in zip(calls, pool.map(run, calls), strict=True):
                self._tell("result", (call, output))
                yield {"role": "tool", "tool_call_id": call["id"], "content": output}

    def _request(self) -> Reply:
        body = {
            "model": self._model,
            "messages": self.messages,
            "tools": self._tools.definitions,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with self._http.stream("POST", "/chat/completions", json=body) as response:
            if response.status_code != 200:
                raise ClientError(f"HTTP {response.status_code}: {response.read().decode()}")
            reply = Reply(run=response.headers.get("x-clawback-run", ""))
            calls: dict[int, dict[str, Any]] = {}
            for chunk in _chunks(response):
                self._take(chunk, reply, calls)
        reply.calls = [calls[index] for index in sorted(calls)]
        return reply

    def _take(self, chunk: dict[str, Any], reply: Reply, calls: dict[int, dict[str, Any]]) -> None:
        if error := chunk.get("error"):
            raise ClientError(error["message"])
        reply.usage = chunk.get("usage") or reply.usage
        for choice in chunk["choices"]:
            reply.finish_reason = choice["finish_reason"] or reply.finish_reason
            delta = choice["delta"]
            if text := delta.get("content"):
                reply.text += text
                self._tell("text", text)
            for part in delta.get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
                call["id"] = part.get("id") or call["id"]
                call["function"]["name"] += part["function"].get("name", "")
                call["function"]["arguments"] += part["function"].get("arguments", "")


def _chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))
