"""What a running bridge leaves in its data folder, so that commands on this machine find it and are let in."""

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bridge.config import Config

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
