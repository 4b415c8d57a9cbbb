"""Reads a segment for one client: keeps the connection alive, and notices when the client has gone."""

import fcntl
import logging
import socket
import termios
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from flask import Response
from gevent.monkey import get_original

from bridge.api.access import validity
from bridge.config import Limits
from bridge.errors import Gone, Unauthorized
from bridge.runs.runs import Runs
from bridge.runs.segments import Event, Failure, Segment, extent
from bridge.runs.services import after

log = logging.getLogger("clawback.endpoint")

_Socket: type[socket.socket] = get_original("socket", "socket")
"""gevent's sockets wait whatever the flags say, and only one may wait: the server itself does, for the next request."""

_LOOK_SECONDS = 1.0
_ACKNOWLEDGE_SECONDS = 0.05
_LEAVING_SECONDS = 3.0
"""What closes a connection sooner is the end of a program: Node.js keeps an idle one for 4 s, all others for longer."""


class ClientGone(Gone):
    """The client closed its connection; nobody will read this error."""

    def __init__(self) -> None:
        super().__init__("the client closed its connection", code="client_gone")


def connection_of(environ: dict[str, Any]) -> socket.socket | None:
    """Return the client's socket where the server shows it (gunicorn does)."""
    connection = environ.get("gunicorn.socket")
    return connection if isinstance(connection, socket.socket) else None


def is_gone(connection: socket.socket | None) -> bool:
    """Say whether the client has closed its side, without waiting."""
    if connection is None:
        return False
    try:
        looked_at = _Socket(fileno=connection.fileno())
    except (OSError, ValueError):
        return True
    try:
        return looked_at.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        looked_at.detach()


@dataclass(frozen=True, slots=True)
class Reader:
    """A client's connection where the server shows it, and whether the client means to use it again.

    `check` raises Unauthorized once the client's token is no longer valid.
    """

    connection: socket.socket | None = None
    keeps: bool = False
    check: Callable[[], None] = lambda: None

    @property
    def has_left(self) -> bool:
        """Whether the client has closed a connection that it meant to keep."""
        return self.keeps and self.connection is not None and (self.connection.fileno() < 0 or is_gone(self.connection))


def reader_of(environ: dict[str, Any]) -> Reader:
    """Return who reads the answer to the request at hand.

    In HTTP/1.1 a connection is kept unless a side says otherwise.
    """
    closes = "close" in environ.get("HTTP_CONNECTION", "").lower()
    keeps = not closes and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
    return Reader(connection_of(environ), keeps, validity())


def _unread(connection: socket.socket | None) -> bool:
    """Say whether the kernel still holds something for the client; where it does not tell, it holds nothing."""
    if connection is None:
        return False
    try:
        held = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return False
    return any(held)


def _see_off(segment: Segment, connection: socket.socket, grace_seconds: float) -> None:
    """Watch until the client has taken the end, too. A network that has failed is noticed only long after it."""
    until = time.monotonic() + grace_seconds
    while connection.fileno() >= 0 and time.monotonic() < until:
        if not _unread(connection):
            segment.delivered = True
            return
        if is_gone(connection):
            segment.broken = not segment.readers
            return
        time.sleep(_ACKNOWLEDGE_SECONDS)


def _look_whether_gone(runs: Runs, run_id: str, segment: Segment, reader: Reader) -> None:
    if reader.has_left:
        runs.leave_with_calls(run_id, segment)


def watched(response: Response, runs: Runs, run_id: str, segment: Segment, reader: Reader) -> Response:
    """Let the run learn also of a client that left before its response began: nobody has read for it then."""
    connection = reader.connection

    def note_unread() -> None:
        if connection in segment.expected or not (segment.readers or segment.delivered or segment.abandoned):
            runs.enter_reading(run_id, segment, connection)
            runs.leave_reading(run_id, segment, connection, broken=True)

    response.call_on_close(note_unread)
    return response


def follow(runs: Runs, run_id: str, segment: Segment, reader: Reader, limits: Limits) -> Generator[Event | None]:
    """Yield the segment's events from its beginning, and None whenever there was none for `limits.keepalive_seconds`.

    A client that has calls to run, and at once closes a connection that was to be kept, has probably ended. One whose
    token is revoked meanwhile has a failure for its last event.

    Raises ClientGone. However it ends, the run learns that this reader has left: who does not read it to its end closes
    it, since a traceback may keep it for as long as its error is kept.
    """
    connection = reader.connection
    runs.enter_reading(run_id, segment, connection)
    keepalive_seconds = limits.keepalive_seconds
    complete = False
    try:
        position, said_at, looked_at = 0, time.monotonic(), time.monotonic()
        while True:
            events = segment.read(position, min(_LOOK_SECONDS, keepalive_seconds))
            position += sum(map(extent, events))
            last = segment.closed and position >= segment.length
            now = time.monotonic()
            if last or not events or now - looked_at >= _LOOK_SECONDS:
                looked_at = now
                if is_gone(connection):
                    raise ClientGone
                reader.check()
            yield from events
            if last:
                complete = True
                return
            if events:
                said_at = now
            elif now - said_at >= keepalive_seconds:
                said_at = now
                yield None
    except Unauthorized as error:
        yield Failure(error.fresh())
    finally:
        in_doubt = complete and _unread(connection)
        if in_doubt:
            threading.Thread(target=_see_off, args=(segment, connection, limits.grace_seconds), daemon=True).start()
        runs.leave_reading(run_id, segment, connection, complete=complete and not in_doubt, broken=not complete)
        if complete and connection and segment.asks:
            after(_LEAVING_SECONDS, _look_whether_gone, runs, run_id, segment, reader)
