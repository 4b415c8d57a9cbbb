"""Doctor, in a process of its own: it reads the configuration as it is now, and holds up nobody."""

import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Literal

from bridge.commands.doctor.lines import Line
from bridge.config import Config

log = logging.getLogger("clawback.page")

MOST_SECONDS = 300.0
"""How long an examination may take: a run through each app may wait for a slow upstream."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What doctor has said so far. `late` says that it was stopped, `broken` that it ended early; times are epochs."""

    state: Literal["none", "running", "done", "late", "broken"] = "none"
    lines: tuple[Line, ...] = ()
    began_at: float = 0.0
    ended_at: float | None = None
    failures: int = 0


class DoctorRun:
    """One examination at a time, whoever asks for it; everybody sees what it finds."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self.findings = Findings()

    @property
    def possible(self) -> bool:
        """Whether there is a file that doctor could begin with."""
        return self._config.path is not None

    @property
    def mark(self) -> tuple[object, ...]:
        """What differs whenever there is something new."""
        return (self.findings.state, len(self.findings.lines), self.findings.began_at)

    def start(self, *, with_probe: bool) -> None:
        """Begin, unless it is under way already."""
        path = self._config.path
        if path is None:
            return
        with self._lock:
            if self.findings.state == "running":
                return
            self.findings = Findings("running", began_at=time.time())
        command = [
            sys.executable,
            "-m",
            f"{__package__}.doctor_process",
            str(path),
            *([] if with_probe else ["--no-probe"]),
        ]
        threading.Thread(target=self._follow, args=(command,), daemon=True, name="clawback-doctor").start()

    def _follow(self, command: list[str]) -> None:
        state: Literal["done", "late", "broken"] = "broken"
        try:
            state = self._examine(command)
        except (OSError, ValueError, TypeError):
            log.exception("doctor could not be run")
        finally:
            self._note(state=state, ended_at=time.time())

    def _examine(self, command: list[str]) -> Literal["done", "late", "broken"]:
        late = threading.Event()
        with subprocess.Popen(  # noqa: S603 - our own module, with our own configuration's path
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(MOST_SECONDS, stop)
            timer.daemon = True
            timer.start()
            try:
                for text in process.stdout or ():
                    self._add(Line(**json.loads(text)))
                ended = process.wait()
            finally:
                timer.cancel()
                process.kill()
        return "late" if late.is_set() else "done" if ended == 0 else "broken"

    def _add(self, line: Line) -> None:
        failures = self.findings.failures + (line.state == "failed")
        self._note(lines=(*self.findings.lines, line), failures=failures)

    def _note(self, **values: object) -> None:
        known = {name: getattr(self.findings, name) for name in Findings.__slots__}
        self.findings = Findings(**(known | values))
