"""The real Claude Code before a bridge: `claude -p`, in a home of its own, as a user who is not root."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import AGENTS

TURN_SECONDS = 100
NOBODY = 65534


def program() -> Path:
    """Return the program itself, which comes in a package per platform."""
    return next(AGENTS.glob("node_modules/@anthropic-ai/claude-code-*/claude*"))


@dataclass(frozen=True)
class Outcome:
    """How a turn ended. `envelope` is what it prints: result, is_error, usage, session_id and more."""

    code: int
    envelope: dict[str, Any]
    errors: str

    @property
    def said(self) -> str:
        """The answer, or what went wrong."""
        return str(self.envelope.get("result"))


class ClaudeCode:
    """One installation: `home` is its home folder, `work` the project it works in."""

    def __init__(self, folder: Path, base_url: str = "", token: str = "", model: str = "minimal") -> None:
        """Without a base URL, its own settings say all."""
        self.home, self.work = folder / "home", folder / "project"
        for made in (self.home, self.work):
            made.mkdir(exist_ok=True)
        self._settings = {
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_AUTH_TOKEN": token,
            "ANTHROPIC_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        if not base_url:
            self._settings = {}

    def turn(self, *lines: str, options: tuple[str, ...] = (), **settings: str) -> Outcome:
        """Let it do what the lines say; `options` are its own, such as --continue."""
        command = [str(program()), "-p", "\n".join(lines), "--output-format", "json", *options]
        done = subprocess.run(
            [*command, "--dangerously-skip-permissions"],
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **self._settings, **settings},
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_SECONDS,
            check=False,
            **self._somebody(),
        )
        envelope = json.loads(done.stdout) if done.stdout.startswith("{") else {"result": done.stdout}
        return Outcome(done.returncode, envelope, done.stderr)

    def _somebody(self) -> dict[str, Any]:
        """It does not work without asking where it is root."""
        if os.geteuid() != 0:
            return {}
        for folder in (self.home, self.work):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
