"""The newcomer's path: an empty home folder, init, serve, doctor all green, and OpenClaw's first answer."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.commands.doctor.openclaw_hop import read_json5
from demo.service import Service
from demo.stack import Stack, free_port

OPENCLAW_SECONDS = 180


@pytest.fixture(scope="module")
def dify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("dify"), apps=["minimal"]) as running:
        yield running


@pytest.mark.openclaw
@pytest.mark.timeout(240)
def test_from_an_empty_home_folder_to_the_first_answer(
    dify: Stack, openclaw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "OPENCLAW_"))}
    environ = {**clean, "HOME": str(home), "TMPDIR": str(tmp_path)}

    seconds: dict[str, float] = {}

    def timed(name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        began = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL, timeout=OPENCLAW_SECONDS
        )
        seconds[name] = round(time.monotonic() - began, 2)
        return done

    def clawback(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return timed(name, sys.executable, "-m", "bridge.cli", name, *arguments)

    key = str(dify.box.ready["apps"][0]["key"])
    place = ["--place", "same-machine", "--port", str(free_port())]
    init = clawback("init", "--dify-url", dify.box_url, "--app", f"assistant={key}", *place)
    assert init.returncode == 0, init.stderr

    # What a person pastes: the form's values into Dify, the entry into OpenClaw's configuration.
    form = {
        line.split(":", 1)[0].strip(): line.split(":", 1)[1].strip()
        for line in init.stdout.splitlines()
        if line.startswith("   Bridge ")
    }
    dify._write_credentials({"bridge_url": form["Bridge URL"], "bridge_token": form["Bridge token"]})
    entry = init.stdout[init.stdout.index("\n{\n") : init.stdout.index("\n}\n") + 3]
    config = home / ".openclaw" / "openclaw.json"
    config.parent.mkdir()
    config.write_text(entry)

    began = time.monotonic()
    bridge = Service("serve", [sys.executable, "-m", "bridge.cli", "serve", "--json"], tmp_path / "serve.log", environ)
    seconds["serve"] = round(time.monotonic() - began, 2)
    try:
        doctor = clawback("doctor", "--json")
        lines = json.loads(doctor.stdout)["lines"]
        assert [line for line in lines if line["state"] != "ok"] == []
        assert doctor.returncode == 0
        assert {"plugin", "callbacks", "end users", "upstream", "OpenClaw"} <= {line["name"] for line in lines}

        workspace = tmp_path / "workspace"
        workspace.mkdir()
        prompt = 'Begin.\n!call write {"path": "first.txt", "content": "first"}\n!then\n!say The first answer.'
        turn = timed(
            "first answer",
            *[str(openclaw), "agent", "exec", prompt],
            *["--config", str(config), "--cwd", str(workspace), "--json"],
        )
        envelope = json.JSONDecoder().raw_decode(turn.stdout[turn.stdout.index("{") :])[0]
        assert envelope["ok"], turn.stdout
        assert "The first answer." in envelope["final"]
        assert (workspace / "first.txt").read_text() == "first"
    finally:
        bridge.stop()
    assert read_json5(entry)
    with capsys.disabled():
        sys.stdout.write(f"\nThe newcomer's seconds: {seconds}\n")


@pytest.mark.openclaw
@pytest.mark.timeout(240)
def test_init_can_put_the_entry_into_openclaw_itself(dify: Stack, openclaw: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environ = {**os.environ, "HOME": str(home), "OPENCLAW_STATE_DIR": str(home / "state")}
    key = str(dify.box.ready["apps"][0]["key"])
    command = [sys.executable, "-m", "bridge.cli", "init", "--dify-url", dify.box_url, "--app", f"assistant={key}"]
    command += ["--config", str(home / "clawback.toml"), "--place", "docker", "--json"]
    command += ["--apply-openclaw", "--openclaw", str(openclaw)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL, timeout=OPENCLAW_SECONDS
    )
    assert done.returncode == 0, done.stderr
    applied = json.loads((home / "state" / "openclaw.json").read_text())
    told = json.loads(done.stdout)["openclaw"]
    assert applied["models"]["providers"]["clawback"] == told["models"]["providers"]["clawback"]
    assert applied["agents"]["defaults"]["model"]["primary"] == "clawback/assistant"

    # An entry that no longer fits, and doctor's advice followed word by word.
    applied["models"]["providers"]["clawback"]["apiKey"] = "clawback-client-of-yesterday"
    (home / "state" / "openclaw.json").write_text(json.dumps(applied))
    advice = _openclaw_line(home, environ)["advice"]
    again = re.search(r"clawback (init(?: --?[\w-]+| \w+)*)\.", advice)
    assert again, advice
    command = [sys.executable, "-m", "bridge.cli", *again.group(1).split(), "--openclaw", str(openclaw)]
    command += ["--config", str(home / "clawback.toml")]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL, timeout=OPENCLAW_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert _openclaw_line(home, environ)["state"] == "ok"


def _openclaw_line(home: Path, environ: dict[str, str]) -> dict[str, str]:
    """Return what doctor says of OpenClaw's entry."""
    command = [sys.executable, "-m", "bridge.cli", "doctor", "--no-probe", "--json", "--config"]
    done = subprocess.run(
        [*command, str(home / "clawback.toml")], capture_output=True, text=True, env=environ, timeout=60
    )
    return next(line for line in json.loads(done.stdout)["lines"] if line["name"] == "OpenClaw")
