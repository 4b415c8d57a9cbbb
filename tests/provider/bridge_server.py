"""A small bridge that speaks `tools.wire` over real HTTP and is told by the test what to answer."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from tools.results import ToolResult
from tools.wire import (
    AttachRequest,
    AttachResponse,
    PingResponse,
    RecordRequest,
    TicketRequest,
    TicketState,
    TicketStatus,
)

TOKEN = "plugin-token-0123456789"


@dataclass
class Ticket:
    request: TicketRequest
    status: TicketStatus
    opened: int = 1
    suspended: bool = False
    cancelled: str | None = None


@dataclass
class Bridge:
    """What the bridge knows. `answers` are given to the attaches of users, by name."""

    url: str = ""
    answers: dict[str, AttachResponse] = field(default_factory=dict)
    attached: list[AttachRequest] = field(default_factory=list)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    records: list[tuple[str, RecordRequest]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, what: str, count: int = 1, seconds: float = 30) -> Any:
        """Wait until there are `count` of `tickets`, `records` or `attached`, and return them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(getattr(self, what)) >= count, seconds), f"no {what}"
            return getattr(self, what)

    def wait_ticket(self, number: int = 0) -> Ticket:
        return list(self.wait_for("tickets", number + 1).values())[number]

    def settle(self, ticket: Ticket, state: TicketState = "resolved", outputs: Sequence[str] = (), **more: Any) -> None:
        results = [
            ToolResult(tool_call_id=call.id, output=output)
            for call, output in zip(ticket.request.calls, outputs, strict=False)
        ]
        with self.changed:
            ticket.status = TicketStatus(ticket_id=ticket.status.ticket_id, state=state, results=results, **more)
            self.changed.notify_all()

    # Requests

    def post_attach(self, body: bytes) -> BaseModel:
        request = AttachRequest.model_validate_json(body)
        self.attached.append(request)
        return self.answers.get(request.user or "", AttachResponse(reason="nobody"))

    def put_ticket(self, ticket_id: str, body: bytes, seconds: float) -> BaseModel:
        known = self.tickets.get(ticket_id)
        if known:
            known.opened += 1
        else:
            request = TicketRequest.model_validate_json(body)
            self.tickets[ticket_id] = Ticket(request, TicketStatus(ticket_id=ticket_id, state="open"))
            self.changed.notify_all()
        return self.get_ticket(ticket_id, seconds)

    def get_ticket(self, ticket_id: str, seconds: float) -> BaseModel:
        ticket = self.tickets[ticket_id]
        self.changed.wait_for(lambda: ticket.status.state != "open", seconds)
        return ticket.status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or an answer's body waits 40 ms for its head to be acknowledged
    bridge: Bridge

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.bridge.changed:
            self.bridge.paths.append(f"{self.command} {urlsplit(self.path).path}")
            status, said = self.answered(body)
            self.bridge.changed.notify_all()
        self.send(status, said)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - the standard library's names

    def answered(self, body: bytes) -> tuple[int, Any]:
        url = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "Unknown token."}}
        if self.bridge.failing:
            return self.bridge.failing.pop(0), {"error": {"message": "Not now."}}
        said = self.said(url.path.removeprefix("/plugin/v1/").split("/"), parse_qs(url.query), body)
        return (200, json.loads(said.model_dump_json())) if said else (204, None)

    def said(self, path: list[str], query: dict[str, list[str]], body: bytes) -> BaseModel | None:
        bridge = self.bridge
        match self.command, *path:
            case "GET", "ping":
                return PingResponse(version="0")
            case "POST", "attach":
                return bridge.post_attach(body)
            case "PUT", "tickets", ticket_id:
                return bridge.put_ticket(ticket_id, body, float(query.get("wait", "0")[0]))
            case "GET", "tickets", ticket_id:
                return bridge.get_ticket(ticket_id, float(query["wait"][0]))
            case "POST", "tickets", ticket_id, "suspend":
                bridge.tickets[ticket_id].suspended = True
                return bridge.tickets[ticket_id].status
            case "POST", "tickets", ticket_id, "expire":
                bridge.settle(bridge.tickets[ticket_id], "expired")
                return bridge.tickets[ticket_id].status
            case "POST", "tickets", ticket_id, "cancel":
                bridge.tickets[ticket_id].cancelled = json.loads(body)["reason"]
                return bridge.tickets[ticket_id].status
            case "POST", "invocations", invocation_id, "record":
                bridge.records.append((invocation_id, RecordRequest.model_validate_json(body)))
                return None
            case "POST", "invocations", _, "drafts" | "beat":
                return None
        raise AssertionError(path)

    def send(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


@contextmanager
def serving(bridge: Bridge, port: int = 0) -> Iterator[Bridge]:
    """Serve until the block ends. The same bridge can be served again, on the same port: it was restarted."""
    server = Server(("127.0.0.1", port), type("BridgeHandler", (Handler,), {"bridge": bridge}))
    bridge.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield bridge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(true: Any, seconds: float = 20) -> None:
    """Wait until `true()`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
