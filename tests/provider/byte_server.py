"""An HTTP server that answers every request with the bytes it was given, cut where it was told to."""

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def answering(*answers: Iterable[bytes]) -> Iterator[str]:
    """Serve `answers`, one a request, each in pieces, and close the connection behind it. Yields the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=_serve, args=(listener, answers))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(30)


def _serve(listener: socket.socket, answers: Sequence[Iterable[bytes]]) -> None:
    for pieces in answers:
        connection, _ = listener.accept()
        with connection:
            _read_request(connection)
            for piece in pieces:
                connection.sendall(piece)


def _read_request(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body) if lengths else 0
    while missing > 0:
        missing -= len(connection.recv(65536))


def response(body: bytes, kind: str = "text/event-stream", status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole response; `length` promises more than `body` holds."""
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{size}Connection: close\r\n\r\n".encode() + body
