"""Who uses a port of this machine."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SECONDS = 2.0
_LISTENS = "0A"
"""The state of a socket that listens, as Linux writes it in /proc/net/tcp."""


def is_taken(host: str, port: int) -> bool:
    """Whether nobody else can listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def is_bridge(url: str) -> bool:
    """Whether a bridge of Clawback answers there."""
    # Here, since the server's first process needs nothing else of it, and keeps what it has loaded.
    import httpx

    try:
        document = httpx.get(f"{url}/openapi.json", timeout=_SECONDS, trust_env=False).json()
        return "/operator/v1/status" in document["paths"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def user_of(port: int) -> str:
    """Return which process listens on a port, as far as Linux lets us see it."""
    links = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(file.readlink()) in links for file in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "another program"


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
