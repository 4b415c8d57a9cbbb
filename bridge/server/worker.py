"""gunicorn's gevent worker, with an end to every wait for a client, and a word for whom there is no room for."""

import errno
import json
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import metadata
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.ggevent import GeventWorker

from bridge.config import Limits
from bridge.errors import InvalidRequest, TooSlow, Unavailable

log = logging.getLogger("clawback.server")

KERNEL_BYTES = 64 * 1024

SPARED = 4
"""The last of so many parts of the descriptors is for what requests need: the store, and their streams of Dify."""

RETRY_SECONDS = 5.0
LINGER_SECONDS = 1.0
TOLD_SECONDS = 60.0
"""How often it is logged that connections are refused."""


class Server(StreamServer):
    """Takes connections while there are descriptors for them. All others are told when to come back."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reserve = os.open(os.devnull, os.O_RDONLY)
        self._refused = 0
        self._told_at = float("-inf")

    def do_read(self) -> Any:
        """Return a connection and its address, or None where there is none to be served."""
        try:
            accepted = super().do_read()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            os.close(self._reserve)
            try:
                accepted = super().do_read()
                if accepted:
                    self._refuse(accepted[0], lingers=False)
            finally:
                self._reserve = os.open(os.devnull, os.O_RDONLY)
            return None
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        spare = limit // SPARED
        if accepted and 0 < limit - spare <= accepted[0].fileno():
            self._refuse(accepted[0], lingers=accepted[0].fileno() < limit - spare // 2)
            return None
        return accepted

    def _refuse(self, connection: Any, *, lingers: bool) -> None:
        """Tell a client to come back; this is the hub, which must not wait."""
        self._refused += 1
        if time.monotonic() - self._told_at >= TOLD_SECONDS:
            self._told_at = time.monotonic()
            log.warning(
                "connections are refused: the limit of open files (ulimit -n) is too low",
                extra={"count": self._refused},
            )
            self._refused = 0
        with suppress(OSError):
            connection.setblocking(False)
            connection.send(_refusal())
            connection.shutdown(socket.SHUT_WR)
        if lingers:
            gevent.spawn(_see_off, connection)
        else:
            connection.close()


def _refusal() -> bytes:
    error = Unavailable("the bridge has as many connections as it may open; try again", retry_after=RETRY_SECONDS)
    body = json.dumps(error.body()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**headers, **error.headers()}.items()]
    return "\r\n".join([f"HTTP/1.1 {error.status} Service Unavailable", *lines, "", ""]).encode() + body


def _see_off(connection: Any) -> None:
    """Take what the client still sends, for a moment: else it may be told of a reset instead of the refusal."""
    try:
        with suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):  # type: ignore[arg-type]
            connection.setblocking(True)
            while connection.recv(KERNEL_BYTES):
                pass
    finally:
        connection.close()


class Worker(GeventWorker):
    """Knows which of its connections wait for a next request, and lets no client keep one for nothing.

    A stop does not wait for connections that nobody uses.
    """

    limits = Limits()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: dict[Any, gevent.Timeout] = {}

    def patch(self) -> None:
        """Let gevent patch the standard library. It asks every installed package for a hook before each part of it."""
        asked = metadata.entry_points
        every = asked()
        metadata.entry_points = every.select
        try:
            super().patch()
        finally:
            metadata.entry_points = asked

    def server_class(self, listener: Any, *, spawn: Any, **options: Any) -> Server:  # type: ignore[override]
        """Return what accepts connections; gunicorn calls this as it would a class."""
        given = {name: value for name, value in options.items() if name.startswith("ssl")}
        return Server(listener, handle=partial(self.handle, listener), spawn=spawn, **given)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:  # type: ignore[override]
        """Bound how long a connection waits for its next request and its headers."""
        waiting = gevent.getcurrent()
        with gevent.Timeout(self.cfg.keepalive, False) as limit:  # type: ignore[arg-type]
            self._idle[waiting] = limit
            try:
                yield
            finally:
                del self._idle[waiting]

    def release_idle(self) -> None:
        """Close the connections that wait for a next request, as if their time were up."""
        for waiting, limit in list(self._idle.items()):
            waiting.kill(limit, block=False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection. The kernel ends one whose client takes nothing of what was written for it.

        It keeps little of it: what lies there counts neither as read by the client nor as the bridge's own memory.
        """
        with suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT") and client.family != socket.AF_UNIX:
            with suppress(OSError):
                milliseconds = round(self.limits.stalled_seconds * 1000)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        super().handle(listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:  # type: ignore[override]
        """Serve a request, whose body has to arrive in time too."""
        reader = TimelyReader(req.body.reader, self.limits.request_seconds)
        req.body.reader = reader
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client takes nothing any more") from error
        finally:
            # What was left unread is thrown away under the limit for the next request.
            reader.until = None


class TimelyReader:
    """Reads a request's body, all of which has to arrive within `seconds` from now."""

    def __init__(self, reader: Any, seconds: float) -> None:
        self.until: float | None = time.monotonic() + seconds
        self._reader = reader
        self._seconds = seconds
        self._unbroken = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes. Raises TooSlow and InvalidRequest, after which the connection is used no more.

        What comes after the answer has nobody to tell: gunicorn ends the connection as if its client had.
        """
        try:
            return self._timely(size)
        except (ParseException, OSError) as error:
            if self.until is None:
                raise NoMoreData from error
            raise InvalidRequest(f"the body cannot be read: {error}", code="invalid_body") from None

    def _timely(self, size: int) -> bytes:
        if self.until is None:
            return self._read(size)
        late = TooSlow(f"the request's body did not arrive within {self._seconds:g} s (limits.request_seconds)")
        with gevent.Timeout(max(0.0, self.until - time.monotonic()), late):
            return self._read(size)

    def _read(self, size: int) -> bytes:
        """Read on. What has arrived already comes without a wait, in pieces so small that many of them take long."""
        read = bytes(self._reader.read(size))
        self._unbroken += len(read)
        if self._unbroken > KERNEL_BYTES:
            # Here, since the server's first process imports this module, and needs nothing of what runs are.
            from bridge.runs.services import breathe

            self._unbroken = 0
            breathe()
        return read
