"""Takes a changed configuration while runs go on: apps, tokens, limits, the policy.

A file that is broken is refused, and what holds stays. The address, the store and traces are settled when the bridge
starts: a change of these is said, and waits for that.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge.config import Config, ConfigError, load
from bridge.runs.tickets.policy import Policy

log = logging.getLogger("clawback.reload")

SETTLED = ("data_dir", "database_url", "database_connections", "durability", "wakeups_url", "traces")
"""What only a new start changes. Host and port are too, and may come from the command line."""
_SECTIONS = ("tokens", "limits")

Stamp = tuple[tuple[int, int, int] | None, ...]


class Reload:
    """Brings what the file at `path` says into `config`, which all parts of the bridge share.

    `take` is given the policy once the rest has been taken.
    """

    def __init__(self, path: Path, config: Config, take: Callable[[Policy], None]) -> None:
        self._path = path
        self._config = config
        self._take = take
        self._seen = self._stamp()

    def has_changed(self) -> bool:
        """Say whether one of the files was written since they were last read."""
        return self._stamp() != self._seen

    def reload(self) -> bool:
        """Read the files and take what they say; say whether that could be done."""
        self._seen = self._stamp()
        try:
            new = load(self._path)
            policy = Policy.load(new.policy)
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            log.error("the configuration was not taken, and the old one stays: %s", error)
            return False
        for name in self._settled(new):
            log.warning("%s has changed, which takes a new start of the bridge", name)
        self._adopt(new)
        self._take(policy)
        # A policy file that was not named before is watched from now on.
        self._seen = self._stamp()
        log.info("the configuration was taken", extra={"models": [app.model for app in new.apps]})
        return True

    def _settled(self, new: Config) -> Iterator[str]:
        for name in SETTLED:
            if getattr(new, name) != getattr(self._config, name):
                yield name

    def _adopt(self, new: Config) -> None:
        """Change the values in place: who holds a section holds the new one."""
        for name in type(new).model_fields:
            if name in _SECTIONS:
                held, given = getattr(self._config, name), getattr(new, name)
                for key in type(given).model_fields:
                    setattr(held, key, getattr(given, key))
            elif name not in {*SETTLED, "host", "port"}:
                setattr(self._config, name, getattr(new, name))

    def _stamp(self) -> Stamp:
        policy = self._config.policy
        return tuple(_stat(path) for path in (self._path, *([policy.expanduser()] if policy else [])))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
