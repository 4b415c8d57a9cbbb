"""The bridge that serves on this machine."""

import socket

import httpx

from bridge.commands.doctor.lines import Line, failed, ok
from bridge.config import Config
from bridge.server import serving
from bridge.server.ports import is_bridge, is_taken, user_of
from bridge.server.serving import Serving

_SECONDS = 5.0


def look_at_bridge(config: Config) -> tuple[Serving | None, Line]:
    """Find the bridge and ask whether it takes work; None where nothing can be sent through it."""
    note = serving.find(config)
    if note is None or not (status := _status(note.url)):
        return None, _absent(config)
    if status != "ready":
        return None, failed("bridge", f"The bridge at {note.url} is not ready: {status}", "Start the bridge again")
    if note.digest != serving.digest(config):
        return note, failed(
            "bridge",
            f"The bridge at {note.url} still uses an older version of the configuration",
            "Send it SIGHUP, or restart it: clawback serve",
        )
    return note, ok("bridge", f"serves at {note.url}/v1")


def _status(url: str) -> str:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_SECONDS, trust_env=False).json()
        return str(answer.get("status") or "")
    except (httpx.HTTPError, ValueError, AttributeError):
        return ""


def _absent(config: Config) -> Line:
    if config.port and is_taken(config.host, config.port):
        other = is_bridge(f"http://127.0.0.1:{config.port}")
        user = "A bridge with another data folder" if other else f"Not this bridge, but {user_of(config.port)},"
        return failed(
            "bridge",
            f"{user} listens on port {config.port}",
            f"Stop it, or take another port: clawback init --port {_free_port()}. Then run: clawback serve",
        )
    return failed(
        "bridge", "The bridge is not running", "Run in another terminal, and leave it running: clawback serve"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
