"""Bytes on a socket: requests as no HTTP library would send them, and a cable that can be cut."""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

from demo.client import session_headers
from demo.stack import Stack

PATIENCE = 30.0


def request(
    stack: Stack, body: bytes, *headers: str, length: int | None = None, path: str = "/v1/chat/completions"
) -> bytes:
    """Return a request as bytes; `length` is what it claims its body to be."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: bridge",
        f"Authorization: Bearer {stack.client_token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def session_lines(name: str) -> list[str]:
    """Return the header lines with which OpenClaw names its session."""
    return [f"{header}: {value}" for header, value in session_headers(name).items()]


def asking(text: str, model: str = "minimal", **more: Any) -> bytes:
    """Return the body of a request that streams."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "stream": True, **more}).encode()


class Wire:
    """One connection to the bridge. A context manager; leaving it closes the connection."""

    def __init__(self, stack: Stack, *, takes: int | None = None) -> None:
        """Connect. `takes` is how many bytes the receiving side's buffer has."""
        self._socket = socket.socket()
        if takes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
        self._socket.settimeout(PATIENCE)
        host, _, port = stack.bridge_url.removeprefix("http://").partition(":")
        self._socket.connect((host, int(port)))
        self.received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a peer that closed its side is no error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def trickle(self, data: bytes, seconds: float) -> None:
        """Send one byte each `seconds`, until the peer has closed the connection or all is sent."""
        until = time.monotonic() + PATIENCE
        for byte in data:
            if self._is_over(seconds) or time.monotonic() > until:
                return
            self.send(bytes([byte]))

    def _is_over(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            piece = self._socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        self.received += piece
        return not piece

    def until(self, mark: bytes) -> bytes:
        """Read until `mark` has come."""
        while mark not in self.received:
            piece = self._socket.recv(65536)
            assert piece, f"the connection ended before {mark!r}: {self.received[-500:]!r}"
            self.received += piece
        return self.received

    def body(self) -> Any:
        """Read a response that says how long it is, and return its JSON."""
        head, _, begun = self.until(b"\r\n\r\n").partition(b"\r\n\r\n")
        missing = int(header(head, "content-length")) - len(begun)
        while missing > 0:
            piece = self._socket.recv(missing)
            assert piece, "the connection ended amid the body"
            begun, missing = begun + piece, missing - len(piece)
        return json.loads(begun)

    def rest(self) -> bytes:
        """Read until the peer closes the connection."""
        with suppress(ConnectionResetError):
            while piece := self._socket.recv(65536):
                self.received += piece
        return self.received

    def vanish(self) -> None:
        """Close the connection as a machine does that loses its network for good: without a goodbye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def said(received: bytes) -> str:
    """Return the text that a streamed response holds."""
    lines = [line for line in received.split(b"\n") if line.startswith(b"data: {")]
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


def header(received: bytes, name: str) -> str:
    """Return one of the response's headers."""
    head = received.split(b"\r\n\r\n")[0].decode().lower().splitlines()
    return next(line.partition(": ")[2] for line in head if line.startswith(f"{name.lower()}: "))


class Cable:
    """Carries connections to `target`, until it is cut. `heard` is what clients have said."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.target = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.heard = bytearray()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        for near in self._connections():
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            for source, sink, heard in ((near, far, self.heard), (far, near, None)):
                threading.Thread(target=self._carry, args=(source, sink, heard), daemon=True).start()

    def _connections(self) -> Iterator[socket.socket]:
        with suppress(OSError):
            while True:
                yield self._listener.accept()[0]

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, heard: bytearray | None) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if heard is not None:
                    heard += piece
                sink.sendall(piece)
        _end(source, sink)

    def asked(self) -> tuple[set[str], bool]:
        """Return to which paths clients have posted, and whether one asked for a stream."""
        said = bytes(self.heard)
        paths = {path.decode() for path in re.findall(rb"POST ([^ ?]+)\S* HTTP", said)}
        return paths, re.search(rb'"stream":\s*true', said) is not None

    def cut(self) -> None:
        """End every connection that there is now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def close(self) -> None:
        """Carry nothing any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def concurrently(*works: Any) -> Sequence[Any]:
    """Do all of it at once and return what it gave, in order."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result() for done in [pool.submit(work) for work in works]]
