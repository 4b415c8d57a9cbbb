"""The bridge's own parts: the configuration, the store, and the bridge that serves here."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bridge.commands.doctor.lines import RESTART, Line, failed, ok
from bridge.commands.init.config_file import is_private
from bridge.config import Config, ConfigError, load
from bridge.server import serving
from bridge.server.serving import Serving, is_bridge, is_taken, user_of
from bridge.store.lock import holder
from bridge.store.place import StoreError, path_of
from bridge.store.upgrade import VERSION, check

_TAKEN_SECONDS = 1.0
"""How long a bridge may take to read its configuration anew."""


def look_at_config(path: Path) -> tuple[Config | None, list[Line]]:
    """Read the configuration; None where the rest cannot be looked at."""
    try:
        config = load(path)
    except ConfigError as error:
        advice = f"Correct that key in {path}" if path.exists() else "Run: clawback init"
        return None, [failed("configuration", str(error), advice)]
    except (OSError, UnicodeDecodeError) as error:
        return None, [failed("configuration", f"{path} cannot be read: {error}", f"Make {path} a file you can read")]
    return config, list(_config_lines(config, path))


def _config_lines(config: Config, path: Path) -> Iterator[Line]:
    yield ok("configuration", str(path))
    if is_private(path):
        yield ok("privacy", "only you can read it")
    else:
        yield failed("privacy", f"Other users can read {path} and the keys in it", f"Run: chmod 600 '{path}'")
    there = {"client": bool(config.tokens.client), "plugin": config.has_plugin}
    missing = [name for name, is_there in there.items() if not is_there]
    if missing:
        yield failed("tokens", f"Tokens are missing for: {', '.join(missing)}", _renew(missing))
    else:
        yield ok("tokens", "client and plugin have one")
    if not config.apps:
        yield failed(
            "apps",
            "The configuration has no app",
            "Run: clawback init --dify-url URL --app KEY, with your Dify's address and a key from the API Access page "
            f"of your chatflow. Then {RESTART}",
        )


def _renew(missing: list[str]) -> str:
    flags = " ".join(f"--renew {name}" for name in missing)
    return f"Run: clawback init {flags}. Pass on the tokens that it shows, and {RESTART}"


def look_at_store(config: Config) -> Line:
    """Look at the store, and change nothing: a bridge may have it."""
    shown = "PostgreSQL" if config.database_url and "postgres" in config.database_url else config.store_url
    path = path_of(config.store_url)
    if path and path.parent.exists() and not path.parent.is_dir():
        return failed(
            "store", f"{path.parent} is not a folder", f"Move {path.parent} away, or set data_dir to a folder"
        )
    try:
        version = check(config.store_url)
    except StoreError as error:
        said, _, advice = str(error).rpartition(". ")
        return failed("store", said, advice)
    if version is None:
        return ok("store", f"{path or shown} will be created when the bridge starts")
    later = "" if version == VERSION else f", which the bridge upgrades from version {version} when it starts"
    return ok("store", f"{path or shown}{later}")


def mend(path: Path) -> Iterator[str]:
    """Mend what is wrong with our own files and with the bridge that reads them, and tell each."""
    config, _ = look_at_config(path)
    if config is None:
        return
    if not is_private(path):
        path.chmod(0o600)
        yield f"Made {path} readable only by you."
    note, pid = serving.find(config), holder(config.store_url)
    if note and pid and note.digest != serving.digest(config):
        os.kill(pid, signal.SIGHUP)
        time.sleep(_TAKEN_SECONDS)
        yield f"Sent SIGHUP to the bridge (process {pid}), which loads the current configuration."


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
        if not other and (pid := holder(config.store_url)):
            return failed(
                "bridge",
                f"The bridge is process {pid}, and does not answer",
                "It may only be starting: run clawback doctor again in a minute. If it stays so, end that process. "
                "Then run: clawback serve",
            )
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
