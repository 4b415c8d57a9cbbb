"""A server that sends exactly the bytes it is told to, so that a test decides how Dify's stream is cut."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[socket.socket], None]


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ByteServer:
    """Answers the n-th request with the n-th reply, whatever connection it arrives on."""

    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def close(self) -> None:
        for connection in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := _read_request(connection):
                self.requests.append(request)
                self.replies[len(self.requests) - 1](connection)
        except OSError:
            pass


def _read_request(connection: socket.socket) -> Request | None:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body)


def plain(status: str, body: bytes, content_type: str = "application/json", **headers: str) -> Reply:
    """Return a whole answer."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"

    def reply(connection: socket.socket) -> None:
        connection.sendall(head.encode() + body)

    return reply


def problem(status: str, code: str, message: str, **headers: str) -> Reply:
    """Return an error of Dify's."""
    body = {"code": code, "message": message, "status": int(status.split()[0])}
    return plain(status, json.dumps(body).encode(), **headers)


def event_stream(*pieces: bytes, end: str = "properly", until: threading.Event | None = None) -> Reply:
    """Return a chunked event stream, each piece a chunk of its own.

    It ends `properly`, is `cut`, or is held open (`hold`) until `until` is set.
    """

    def reply(connection: socket.socket) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end == "hold":
            assert until is not None
            until.wait(60)
        elif end == "cut":
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.sendall(b"0\r\n\r\n")

    return reply


def sse(name: str, **fields: Any) -> bytes:
    """Return an event of a chatflow's run as Dify writes it."""
    envelope = {
        "event": name,
        "conversation_id": "6c1e7d0e-1111-4a4e-9d1c-000000000001",
        "message_id": "6c1e7d0e-2222-4a4e-9d1c-000000000002",
        "created_at": 1790000000,
        "task_id": "6c1e7d0e-3333-4a4e-9d1c-000000000003",
    }
    return b"data: %s\n\n" % json.dumps(envelope | fields, ensure_ascii=False).encode()


PING = b"event: ping\n\n"


def started() -> bytes:
    data = {"id": "run-1", "workflow_id": "wf-1", "inputs": {}, "created_at": 1790000000, "reason": "initial"}
    return sse("workflow_started", workflow_run_id="run-1", data=data)


def piece(answer: str) -> bytes:
    return sse("message", id="m", answer=answer, from_variable_selector=["llm_1", "text"])


def message_end(prompt: int = 120, completion: int = 30) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return sse("message_end", id="m", metadata={"usage": usage, "retriever_resources": []}, files=None)


def finished(status: str = "succeeded", error: str | None = None) -> bytes:
    data = {
        "id": "run-1",
        "workflow_id": "wf-1",
        "status": status,
        "outputs": {"answer": "Grüße"} if error is None else None,
        "error": error,
        "elapsed_time": 1.5,
        "total_tokens": 150,
        "total_steps": 3,
        "created_at": 1790000000,
        "finished_at": 1790000002,
    }
    return sse("workflow_finished", workflow_run_id="run-1", data=data)
