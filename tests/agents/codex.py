"""The real Codex before a bridge: `codex exec`, in a home of its own, with a custom provider of Responses."""

import os
import subprocess
from pathlib import Path

from tests.conftest import AGENTS

TURN_SECONDS = 100


def program() -> Path:
    """Return the program itself, which comes in a package per platform."""
    return next(AGENTS.glob("node_modules/@openai/codex-*/vendor/*/bin/codex"))


class Codex:
    """One installation: `home` is its home folder, `work` the folder that it works in."""

    def __init__(self, folder: Path, base_url: str = "", token: str = "", model: str = "minimal") -> None:
        """Without a base URL, its own settings say all."""
        self.home, self.work = folder / "home", folder / "project"
        self.settings = self.home / ".codex" / "config.toml"
        for made in (self.settings.parent, self.work):
            made.mkdir(parents=True, exist_ok=True)
        self.environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], "CLAWBACK_API_KEY": token}
        if base_url:
            self.settings.write_text(
                f'model = "{model}"\nmodel_provider = "clawback"\n\n[model_providers.clawback]\nname = "Clawback"\n'
                f'base_url = "{base_url}"\nenv_key = "CLAWBACK_API_KEY"\nwire_api = "responses"\n'
            )

    def turn(self, *lines: str, again: bool = False, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Let it do what the lines say, in a new thread or in its last one."""
        safe = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
        command = [str(program()), "exec", *(("resume", "--last") if again else ()), *safe, *options, "\n".join(lines)]
        return subprocess.run(
            command,
            env=self.environ,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_SECONDS,
            check=False,
        )
