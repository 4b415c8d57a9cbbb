"""The bridge that serves on this machine."""

import socket

import httpx

from bridge.commands.doctor.lines import Line, failed, ok
from bridge.config import Config
from bridge.server import serving
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
            f"The bridge at {note.url} began with another configuration than the file holds now",
            "Send it SIGHUP, or stop it and start it again: clawback serve",
        )
    return note, ok("bridge", f"serves at {note.url}/v1")


def _status(url: str) -> str:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_SECONDS, trust_env=False).json()
        return str(answer.get("status") or "")
    except (httpx.HTTPError, ValueError, AttributeError):
        return ""


def _absent(config: Config) -> Line:
    if config.port and _is_taken(config.host, config.port):
        return failed(
            "bridge",
            f"Something else listens on port {config.port}",
            f"Stop it, or take another port: clawback init --port {_free_port()}. Then run: clawback serve",
        )
    return failed("bridge", "The bridge does not run", "Run in another terminal, and leave it running: clawback serve")


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
