"""The thin shell: HTTP in front of `demo.scripted.upstream`, with a gevent greenlet for each request.

POST   /v1/chat/completions   needs the key, where one is configured
GET    /v1/models             needs the key
GET    /log                   every request in full with its answer, oldest first; ?containing=TEXT: those with it
DELETE /log                   empties the log, and makes the server forget which failures it has played
"""

import errno
import hmac
import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from socket import IPPROTO_TCP, MSG_PEEK, TCP_NODELAY
from typing import Any
from urllib.parse import parse_qs

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.socket import wait_read

from demo.scripted.log import Entry, Log, without_secret
from demo.scripted.memory import Memory
from demo.scripted.refusal import Refusal
from demo.scripted.script import Cut, Sleep
from demo.scripted.upstream import Plan, list_models, refuse, respond
from demo.scripted.wire import Send

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_SOCKET = "scripted.socket"


class _ClientGoneError(ConnectionResetError):
    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client closed the connection")


class _CutError(ConnectionResetError):
    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the script cuts the connection")


class App:
    """The WSGI application. A cut connection is a ConnectionResetError that the server closes the socket on."""

    def __init__(self, api_key: str | None = None, memory: Memory | None = None, log: Log | None = None) -> None:
        self._api_key = api_key
        self._memory = memory or Memory()
        self._log = log or Log()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """One request."""
        if environ["PATH_INFO"] == "/log":
            return _reply(start_response, self._manage_log(environ["REQUEST_METHOD"], environ["QUERY_STRING"]))
        return self._answer(environ, start_response)

    def _manage_log(self, method: str, query: str) -> Plan:
        if method == "GET":
            return _json_plan(self._log.shown(*parse_qs(query).get("containing", ())))
        if method == "DELETE":
            self._log.clear()
            self._memory.forget()
            return _json_plan({"deleted": True})
        return refuse(Refusal("The log takes GET and DELETE.", status=405))

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        started = time.monotonic()
        raw = environ["wsgi.input"].read()
        headers = _headers(environ)
        plan = self._plan(environ["REQUEST_METHOD"], environ["PATH_INFO"], headers, raw)
        entry = Entry(
            number=self._log.next_number(),
            at=self._memory.clock(),
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            headers=without_secret(headers),
            raw=raw,
            status=plan.status,
            answer=plan.record,
        )
        self._log.add(entry)
        try:
            _wait(plan.delay, environ)
            yield from _reply(start_response, plan, environ)
            entry.state = "done"
        except _CutError:
            entry.state = "cut"
            raise
        except (ConnectionError, GeneratorExit):  # in a pause, or while sending
            entry.state = "client_gone"
            raise
        finally:
            entry.seconds = round(time.monotonic() - started, 3)

    def _plan(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Plan:
        try:
            self._check_key(headers)
            match method, path:
                case "POST", "/v1/chat/completions":
                    return respond(raw, self._memory)
                case "GET", "/v1/models":
                    return _json_plan(list_models())
                case _, "/v1/chat/completions" | "/v1/models":
                    raise Refusal(f"{path} does not take {method}.", status=405)
            raise Refusal(f"There is nothing at {method} {path}.", status=404, code="unknown_url")
        except Refusal as refusal:
            return refuse(refusal)

    def _check_key(self, headers: dict[str, str]) -> None:
        if self._api_key is None:
            return
        given = headers.get("authorization", "")
        if not given:
            raise Refusal("The API key is missing. Send it as 'Authorization: Bearer KEY'.", status=401)
        if not hmac.compare_digest(given.encode(), f"Bearer {self._api_key}".encode()):
            raise Refusal("The API key is wrong.", status=401)


class _Handler(WSGIHandler):
    """Sends each delta at once, and lets the application see when the client has closed its end."""

    def handle(self) -> None:
        self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        super().handle()

    def get_environ(self) -> Environ:
        environ: Environ = super().get_environ()
        environ[_SOCKET] = self.socket
        return environ


def create_server(host: str = "127.0.0.1", port: int = 0, api_key: str | None = None) -> WSGIServer:
    """A server bound to the address (0 is a free port: see `server_port`), to be started with `serve_forever`."""
    server = WSGIServer((host, port), App(api_key), handler_class=_Handler, log=None, backlog=1024)
    server.init_socket()
    return server


def _reply(start_response: StartResponse, plan: Plan, environ: Environ | None = None) -> Iterator[bytes]:
    start_response(f"{plan.status} {_phrase(plan.status)}", list(plan.headers.items()))
    for step in plan.steps:
        match step:
            case Send(data):
                yield data
            case Sleep(seconds):
                _wait(seconds, environ or {})
            case Cut():
                raise _CutError


def _wait(seconds: float, environ: Environ) -> None:
    """Waits, but not longer than the client does."""
    if seconds <= 0:
        return
    socket = environ.get(_SOCKET)
    if socket is None:
        gevent.sleep(seconds)
        return
    deadline = time.monotonic() + seconds
    try:
        wait_read(socket.fileno(), timeout=seconds, timeout_exc=TimeoutError())
    except TimeoutError:
        return
    if not socket.recv(1, MSG_PEEK):
        raise _ClientGoneError
    gevent.sleep(max(0.0, deadline - time.monotonic()))


def _headers(environ: Environ) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    return headers | ({"content-type": environ["CONTENT_TYPE"]} if environ.get("CONTENT_TYPE") else {})


def _json_plan(body: object) -> Plan:
    data = json.dumps(body).encode()
    return Plan(200, {"Content-Type": "application/json", "Content-Length": str(len(data))}, [Send(data)])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"
