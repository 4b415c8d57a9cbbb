"""An HTTP server that answers every request with the bytes it was given, cut where it was told to."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

Greeting = Callable[[socket.socket], socket.socket]
"""What comes before HTTP. Returns the socket that speaks it; raises OSError where the client does not go on."""

_SECONDS = 30.0


@contextmanager
def answering(
    *answers: Iterable[bytes], asked: list[bytes] | None = None, greeting: Greeting = lambda plain: plain
) -> Iterator[str]:
    """Serve `answers`, one a request, each in pieces, and close the connection behind it. Yields the base URL.

    What was requested is added to `asked`.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_SECONDS)
        arguments = (listener, answers, [] if asked is None else asked, greeting)
        thread = threading.Thread(target=_serve, args=arguments, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join(_SECONDS)


def _serve(listener: socket.socket, answers: Sequence[Iterable[bytes]], asked: list[bytes], greeting: Greeting) -> None:
    for pieces in answers:
        plain, _ = listener.accept()
        plain.settimeout(_SECONDS)
        try:
            connection = greeting(plain)
        except OSError:
            plain.close()
            continue
        with connection:
            asked.append(_read_request(connection))
            for piece in pieces:
                connection.sendall(piece)


def over_tls(context: ssl.SSLContext) -> Greeting:
    """TLS, for clients that trust the certificate."""
    return lambda plain: context.wrap_socket(plain, server_side=True)


def as_socks(plain: socket.socket) -> socket.socket:
    """A SOCKS5 proxy without a password, which is itself what it is asked to connect to. Source: RFC 1928."""
    plain.recv(257)
    plain.sendall(b"\x05\x00")
    plain.recv(262)
    plain.sendall(b"\x05\x00\x00\x01" + bytes(6))
    return plain


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head = data.partition(b"\r\n\r\n")[0]
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = len(head) + 4 + int(lengths[0]) if lengths else 0
    while len(data) < length:
        data += _more(connection)
    return data


def _more(connection: socket.socket) -> bytes:
    more = connection.recv(65536)
    if not more:
        raise ConnectionError("the client went away before its request was whole")
    return more


def response(body: bytes, kind: str = "text/event-stream", status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole response; `length` promises more than `body` holds."""
    size = "" if length is None else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{size}Connection: close\r\n\r\n".encode() + body
