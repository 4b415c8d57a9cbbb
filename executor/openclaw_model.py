"""The model `clawback-hands`: to OpenClaw it is a model like any other, and its answers are the calls to be run.

OpenClaw's gateway has no HTTP call for its file and shell tools; they run only when its model asks for them. So a turn
is begun whose model is this one. What OpenClaw sends with it is the catalogue of its tools; what it sends after the
calls is their results. The answer to these is held back for a while: if more calls come, they go into the same turn,
which saves the time that OpenClaw takes to begin one.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.ids import new_tool_call_id
from tools.marker import find_markers, marker_for, new_secret
from tools.results import text_of
from tools.tokens import hash_token, matches

log = logging.getLogger("clawback.executor")

MODEL = "clawback-hands"
HOLD_SECONDS = 20.0
GATHER_SECONDS = 0.02
"""Calls of one round arrive one after the other; those within this time go out together."""

KEEPALIVE_SECONDS = 5.0
MOST_BATCHES = 40
"""A turn's transcript grows with each batch and is sent again each time."""

MOST_BYTES = 32 * 1024 * 1024
ANSWER = "Done."
CLOSING_SECONDS = 5.0


@dataclass
class _Wanted:
    name: str
    arguments: str
    outcome: "Future[str]" = field(default_factory=Future)


class Session:
    """The calls of one run: those that wait to be sent, and those that OpenClaw runs now."""

    def __init__(self) -> None:
        self.secret = new_secret()
        """What names the session in its turn: a run's public id, or any other text, stands for no session."""
        self.batches = 0
        self.in_turn = False
        self._changed = threading.Condition()
        self._closed = False
        self._waiting: list[_Wanted] = []
        self._out: dict[str, _Wanted] = {}

    def want(self, name: str, arguments: str) -> tuple["Future[str]", bool]:
        """Ask for a call. Return what will hold its output, and whether a turn has to be begun for it."""
        wanted = _Wanted(name, arguments)
        with self._changed:
            self._waiting.append(wanted)
            self._changed.notify_all()
            begin, self.in_turn = not self.in_turn, True
        return wanted.outcome, begin

    def settle(self, results: dict[str, str]) -> None:
        """Take outputs by the ids under which the calls went out."""
        with self._changed:
            for call_id, output in results.items():
                wanted = self._out.pop(call_id, None)
                if wanted:
                    wanted.outcome.set_result(output)

    def batch(self, seconds: float) -> list[dict[str, Any]] | None:
        """Return the calls that are to go out now, or None where there was none for so long."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed, seconds)
            if not self._waiting:
                return None
        time.sleep(GATHER_SECONDS)
        with self._changed:
            self.batches += 1
            calls: list[dict[str, Any]] = []
            for wanted in self._waiting:
                call_id = new_tool_call_id()
                self._out[call_id] = wanted
                function = {"name": wanted.name, "arguments": wanted.arguments}
                calls.append({"index": len(calls), "id": call_id, "type": "function", "function": function})
            self._waiting.clear()
            return calls

    @property
    def closed(self) -> bool:
        """Whether its turn is to end now."""
        return self._closed

    def close(self) -> None:
        """Let the turn end now, if it only waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def turn_over(self, error: str | None) -> bool:
        """The turn has ended. What OpenClaw still had fails; say whether calls wait for another turn."""
        with self._changed:
            self.batches = 0
            lost, self._out = list(self._out.values()), {}
            if error:
                lost, self._waiting = [*lost, *self._waiting], []
            for wanted in lost:
                wanted.outcome.set_exception(RuntimeError(error or "OpenClaw ended the turn without running this call"))
            self.in_turn = bool(self._waiting)
            return self.in_turn


class Hands:
    """Serves the model on a loopback port. `on_catalogue` gets the `tools` array of each turn."""

    def __init__(
        self, host: str, port: int, api_key: str, on_catalogue: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        self._key = hash_token(api_key)
        self._on_catalogue = on_catalogue
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        hands = self

        class Handler(_Handler):
            owner = hands

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="clawback-hands").start()

    @property
    def url(self) -> str:
        """The base URL for OpenClaw's provider entry."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def close(self) -> None:
        """Let the turns that only wait end, and serve no more."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.close()
        end = time.monotonic() + CLOSING_SECONDS
        while any(session.in_turn for session in sessions) and time.monotonic() < end:
            time.sleep(GATHER_SECONDS)
        self._server.shutdown()
        self._server.server_close()

    def session(self, key: str) -> Session:
        """Return the session of a run."""
        with self._lock:
            return self._sessions.setdefault(key, Session())

    def forget(self, key: str) -> None:
        """Forget a run's session that no turn is in."""
        with self._lock:
            session = self._sessions.get(key)
            if session and not session.in_turn:
                del self._sessions[key]

    def knows(self, authorization: str) -> bool:
        """Say whether this is OpenClaw."""
        return matches(authorization.removeprefix("Bearer ").strip(), self._key)

    def _session_of(self, messages: list[dict[str, Any]]) -> Session | None:
        """Find the session that one of the markers in the turn is of, whatever other markers its texts hold."""
        said = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
        with self._lock:
            sessions = {session.secret: session for session in self._sessions.values()}
        return next((sessions[secret] for secret in find_markers(said) if secret in sessions), None)

    def answer(self, body: dict[str, Any]) -> Iterator[list[dict[str, Any]] | str | None]:
        """Yield None as long as there is nothing to say, then the calls, or the text that ends the turn."""
        messages = [message for message in body.get("messages") or () if isinstance(message, dict)]
        tools = body.get("tools")
        session = self._session_of(messages)
        if session is None or not tools:
            # A call of OpenClaw's own, a summary say: nothing of ours is in it.
            yield ANSWER
            return
        self._on_catalogue(tools)
        session.settle(_results(messages))
        end = time.monotonic() + (HOLD_SECONDS if session.batches < MOST_BATCHES else 0)
        while True:
            left = end - time.monotonic()
            calls = session.batch(max(0.0, min(KEEPALIVE_SECONDS, left)))
            if calls is not None:
                yield calls
                return
            if left <= KEEPALIVE_SECONDS or session.closed:
                yield ANSWER
                return
            yield None


def prompt(session: Session) -> str:
    """Return what a turn is begun with."""
    return f"Run the tool calls that your model asks for. {marker_for(session.secret)}"


def _results(messages: list[dict[str, Any]]) -> dict[str, str]:
    return {
        str(message.get("tool_call_id")): text_of(message.get("content"))
        for message in messages
        if message.get("role") == "tool"
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Hands

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what is worth a line is logged where it is understood."""

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "clawback"}]})

    def do_POST(self) -> None:
        if not self.owner.knows(self.headers.get("Authorization", "")):
            self._refuse(401, "the apiKey of OpenClaw's provider entry is not the one of this executor")
            return
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MOST_BYTES:
            self._refuse(413, f"a body of 1 to {MOST_BYTES} bytes is expected")
            return
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            self._refuse(400, "the body is not valid JSON")
            return
        if not self.path.endswith("/chat/completions") or not isinstance(body, dict):
            self._refuse(404, f"there is only /v1/chat/completions here, not {self.path}")
            return
        try:
            self._stream(self.owner.answer(body))
        except (BrokenPipeError, ConnectionError):
            log.info("OpenClaw went away")

    def _stream(self, answer: Iterator[list[dict[str, Any]] | str | None]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self._chunk({"role": "assistant", "content": ""})
        for said in answer:
            if said is None:
                self._chunk({"content": ""})
            elif isinstance(said, str):
                self._chunk({"content": said})
                self._chunk({}, "stop")
            else:
                self._chunk({"tool_calls": said})
                self._chunk({}, "tool_calls")
        self.wfile.write(b"data: [DONE]\n\n")
        self.wfile.flush()

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        chunk: dict[str, Any] = {
            "id": "chatcmpl-hands",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
        if finish_reason:
            chunk["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        error = {"message": message, "type": "invalid_request_error", "code": None, "param": None}
        self._send(status, {"error": error})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
