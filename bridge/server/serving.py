"""Where this bridge serves: in a file for other commands, as a banner for people, and who else uses its port."""

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from bridge.config import Config, is_loopback

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


def banner(config: Config, url: str) -> str:
    """Return the lines, for a bridge that serves at `url`."""
    rows = list(_rows(config, url))
    width = max(len(name) for name, _, _ in rows) + 2
    lines = [f"  {name:<{width}}{value}{f'  {what}' if what else ''}" for name, value, what in rows]
    return "\n".join([f"Clawback {version('clawback')} is ready", *lines, "", _THEN])


_THEN = "Ctrl-C stops it. In another terminal: clawback doctor, clawback status, clawback tail"


def _rows(config: Config, url: str) -> Iterator[tuple[str, str, str]]:
    yield "endpoint", f"{url}/v1", "for OpenClaw and other clients of the OpenAI API"
    yield "page", f"{url}/", "to watch and decide, with the operator's token"
    yield "plugin", config.bridge_url or url, "the Bridge URL in Dify"
    if not is_loopback(config.host):
        yield "open to", "other machines, too", f"as host is {config.host}; tokens keep them out"
    for app in config.apps:
        yield "model", app.model, f"at {app.base_url}"
    if not config.apps:
        yield "model", "none yet", "`clawback init` adds apps"
    if config.policy:
        yield "policy", str(config.policy), ""
    if config.traces.endpoint:
        yield "traces", config.traces.endpoint, ""


_FILE = "serving.json"


@dataclass(frozen=True, slots=True)
class Serving:
    """A bridge that serves at `url`, takes `token` from commands on this machine, and read this configuration.

    `started_at` is in seconds since the epoch.
    """

    url: str
    token: str = field(repr=False)
    digest: str
    started_at: float


def announce(config: Config, url: str, token: str, started_at: float) -> None:
    """Leave the note, which only the bridge's own user can read."""
    path = _path(config)
    temporary = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(Serving(url, token, digest(config), started_at)), file)
    temporary.replace(path)


def withdraw(config: Config, token: str) -> None:
    """Take the note away, unless a bridge that started later wrote its own."""
    note = find(config)
    if note and note.token == token:
        with contextlib.suppress(FileNotFoundError):
            _path(config).unlink()


def find(config: Config) -> Serving | None:
    """Return the note of the bridge that was started last, whether or not it still runs."""
    try:
        return Serving(**json.loads(_path(config).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def digest(config: Config) -> str:
    """Return what differs for two configurations, address aside: that one may be given on the command line."""
    values = config.model_dump(mode="json", exclude={"host", "port"})
    keys = [app.api_key.get_secret_value() for app in config.apps]
    return hashlib.sha256(json.dumps([values, keys]).encode()).hexdigest()


def _path(config: Config) -> Path:
    return config.data_dir.expanduser() / _FILE
