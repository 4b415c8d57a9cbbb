"""What commands say when something is not as it should be, and what they print for other programs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.commands.terminal import Terminal
from demo.client import Client
from demo.stack import Stack
from tests.bridge.operator.conftest import Clawback, read
from tests.e2e.conftest import call

APP = '[[apps]]\nmodel = "{}"\nbase_url = "http://dify/v1"\napi_key = "k"\n'


def serve(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "bridge.cli", "serve", "--config", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parts
def test_serve_without_a_configuration_names_init(tmp_path: Path) -> None:
    assert "Run `clawback init`" in serve(tmp_path / "none.toml")


@pytest.mark.parts
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host = '127.0.0.1'\nprot = 1\n", "unknown key prot, did you mean port (line 2)"),
        ("[limits]\nrun_secods = 1\n", "unknown key run_secods in limits, did you mean run_seconds (line 2)"),
        (
            APP.format("a") + APP.format("b") + 'api_kei = "k"\n',
            "unknown key api_kei in apps.1, did you mean api_key (line 9)",
        ),
        ("zzzz = 1\n", "unknown key zzzz (line 1)"),
        ("limits = {zzzz = 1}\n", "unknown key zzzz in limits"),
        ("\n[limits]\nrun_seconds = -1\n", "limits.run_seconds: Input should be greater than 0 (line 3)"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "clawback.toml"
    path.write_text(text)
    assert serve(path) == f"Error: {path}: {said}"


def test_a_used_port_says_who_uses_it(stack: Stack, tmp_path: Path) -> None:
    config = tmp_path / "clawback.toml"
    config.write_text(f"data_dir = {json.dumps(str(tmp_path / 'data'))}\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert f"port {port} is used by process {os.getpid()} (" in serve(config, "--port", port)
    bridges = stack.bridge_url.rpartition(":")[2]
    assert f"port {bridges} is used by another bridge" in serve(config, "--port", bridges)
    assert "this bridge serves already" in serve(stack.folder / "clawback.toml")


def test_a_bridge_that_is_named_needs_its_token(clawback: Clawback, tmp_path: Path) -> None:
    done = clawback("status", "--bridge", "http://127.0.0.1:9", "--config", str(tmp_path / "none.toml"))
    assert "--token is missing" in done.stderr


def test_ids_are_whole_in_a_pipe_and_their_beginning_is_enough(
    stack: Stack, client: Client, clawback: Clawback
) -> None:
    secret = "the combination is 4711"
    (stack.folder / "safe.txt").write_text(secret)
    client.ask(f"Open it.\n{call('read', path='safe.txt')}\n!then\n!say Done.")
    run = read(clawback("runs", "--json", "--limit", "1"))["runs"][0]
    config = ["--config", str(stack.folder / "clawback.toml")]
    narrow = {**os.environ, "COLUMNS": "20"}
    command = [sys.executable, "-m", "bridge.cli", "runs", *config]
    assert run["id"] in subprocess.run(command, capture_output=True, text=True, env=narrow, check=True).stdout

    report = clawback("logs", run["id"][:12])
    told = read(report)
    assert told["run"]["id"] == run["id"]
    assert [event["event"] for event in told["events"]]
    for said in (secret, "safe.txt", "Open it", stack.client_token, stack.app_key("minimal")):
        assert said not in report.stdout
    assert "there is no run" in clawback("logs", "run_of_nobody").stderr


def test_completion_is_for_the_shell(clawback: Clawback) -> None:
    for shell in ("bash", "zsh", "fish"):
        command = [sys.executable, "-m", "bridge.cli", "completion", shell]
        assert "_CLAWBACK_COMPLETE" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_doctor_mends_what_is_ours(stack: Stack, clawback: Clawback) -> None:
    path = stack.folder / "clawback.toml"
    path.chmod(0o644)
    assert "readable only by you" in clawback("doctor", "--no-probe", "--fix").stderr
    assert path.stat().st_mode & 0o777 == 0o600


def test_ids_are_whole_but_where_there_is_little_room() -> None:
    shown = {
        (width, terminal, wide): Terminal(width=width, force_terminal=terminal, wide=wide).id("0123456789ab")
        for width in (80, 100)
        for terminal in (True, False)
        for wide in (True, False)
    }
    assert {key for key, text in shown.items() if text != "0123456789ab"} == {(80, True, False)}
    assert shown[80, True, False] == "01234567"
