"""A bridge of its own beside a Dify that tests share, and what a person does to either."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bridge.cli import main
from bridge.config import load
from bridge.server import serving
from demo.service import Service
from demo.stack import PROVIDER, Stack, free_port

TAKES_SECONDS = 30
Lines = dict[str, dict[str, Any]]


@dataclass
class Patient:
    """`app` is one of Dify's apps; the bridge shows it as `a`."""

    folder: Path
    dify: Stack
    app: str = "minimal"
    port: int = field(default_factory=free_port)
    bridge: Service | None = None
    form: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "clawback.toml"

    @property
    def key(self) -> str:
        return self.dify.app_key(self.app)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        arguments = [command[0], "--config", str(self.config), *command[1:]]
        done = CliRunner().invoke(main, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def init(self, *arguments: str) -> dict[str, Any]:
        done = self.run("init", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        if "plugin" in told["tokens"]:
            self.form = told["plugin_form"]
        return told

    def begin(self, *arguments: str) -> None:
        places = ["--place", "same-machine", "--port", str(self.port), "--data-dir", str(self.folder / "data")]
        self.init("--dify-url", self.dify.box_url, "--app", f"a={self.key}", *places, *arguments)

    def heal(self) -> "Patient":
        """Do all that a newcomer does."""
        self.begin()
        self.fill_in_form()
        self.serve()
        return self

    def fill_in_form(self, **other: str) -> None:
        """Save the provider's form in Dify."""
        values = {"bridge_url": self.form["Bridge URL"], "bridge_token": self.form["Bridge token"], **other}
        self.dify._write_credentials(values)

    def keep_form_of(self, provider: str) -> None:
        """Have another provider's form filled in, whose plugin is not there."""
        path = self.dify.folder / "credentials.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {provider: {"openai_api_key": "sk"}}))

    def empty_form(self) -> None:
        """Take the provider's credentials away."""
        content = json.loads((self.dify.folder / "credentials.json").read_text())
        del content[PROVIDER]
        (self.dify.folder / "credentials.json").write_text(json.dumps(content))

    def serve(self) -> None:
        """Start the bridge."""
        self.stop()
        command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(self.config)]
        self.bridge = Service("own-bridge", command, self.folder / "bridge.log")

    def reload(self) -> None:
        """Send the bridge SIGHUP, and wait until it has taken what the configuration says."""
        assert self.bridge
        os.kill(self.bridge.pid, signal.SIGHUP)
        config = load(self.config)
        ends = time.monotonic() + TAKES_SECONDS
        while (note := serving.find(config)) is None or note.digest != serving.digest(config):
            assert time.monotonic() < ends
            time.sleep(0.05)

    def stop(self) -> None:
        """Pull the bridge's plug: to wait for it would only take time."""
        if self.bridge:
            self.bridge.kill()
        self.bridge = None

    def doctor(self, *arguments: str) -> Lines:
        done = self.run("doctor", "--json", *arguments)
        told = json.loads(done.stdout)
        failures = [line for line in told["lines"] if line["state"] == "failed"]
        assert (done.returncode, told["ok"]) == (int(bool(failures)), not failures)
        assert all(line["advice"] for line in failures)
        return {line["name"]: line for line in told["lines"]}

    def red(self, name: str, *arguments: str) -> str:
        """Return the advice of the line that must be red, and the only one that is."""
        lines = self.doctor(*arguments)
        assert [line["name"] for line in lines.values() if line["state"] == "failed"] == [name], lines
        return str(lines[name]["advice"])

    def follow(self, advice: str, **replaced: str) -> dict[str, Any]:
        """Run the `clawback init` that an advice holds, word by word; capitals stand for what a person fills in."""
        command = re.search(r"clawback init((?: --?[\w-]+| [\w=]+)*)", advice)
        assert command, advice
        return self.init(*[replaced.get(word, word) for word in shlex.split(command.group(1))])

    def all_green(self, *arguments: str) -> None:
        bad = [line for line in self.doctor(*arguments).values() if line["state"] == "failed"]
        assert bad == [], bad


def restart(dify: Stack) -> None:
    """Let Dify load its apps anew, as they are published now."""
    dify.box.stop()
    dify.box.start()


@contextmanager
def another_dify(dify: Stack, *more: str, **replaced: str) -> Iterator[None]:
    """Let Dify run with other options for a while: those given last hold."""
    before = list(dify.box.command)
    dify.box.command += [*more, *(f"--{name.replace('_', '-')}={value}" for name, value in replaced.items())]
    restart(dify)
    try:
        yield
    finally:
        dify.box.command[:] = before
        restart(dify)
