"""The box and its plugin begin and end together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.demo.box.running import EXAMPLES, PLUGIN, ROOT, RunningBox, alive, eventually, started

pytestmark = pytest.mark.parts


def test_sigterm_ends_the_box_and_its_plugin(tmp_path: Path) -> None:
    with started(tmp_path) as box, box.streaming("!sleep 30") as stream:
        next(stream)
        box.process.send_signal(signal.SIGTERM)
        assert box.process.wait(timeout=10) == 0
    assert not alive(box.ready["plugin"]["pid"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its parent")
def test_the_plugin_does_not_outlive_a_killed_box(tmp_path: Path) -> None:
    with started(tmp_path) as box:
        plugin = box.ready["plugin"]["pid"]
        assert alive(plugin)
        os.kill(box.process.pid, signal.SIGKILL)
        eventually(lambda: not alive(plugin))


def refused(*options: str) -> str:
    """What a box says that does not start."""
    command = [sys.executable, "-m", "demo.box", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert ended.stdout == ""
    return ended.stderr


def test_a_folder_that_is_no_plugin_is_refused(tmp_path: Path) -> None:
    said = refused("--app", f"{EXAMPLES}/minimal.yml:key", "--plugin-dir", str(tmp_path))
    assert f"box: {tmp_path} is no plugin folder: it has no manifest.yaml" in said


def test_a_plugin_that_does_not_start_is_shown_with_its_words(tmp_path: Path) -> None:
    for name in ("manifest.yaml", "declared/provider.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((PLUGIN / name).read_text())
    (tmp_path / "main.py").write_text("raise SystemExit('no luck today')")
    said = refused("--app", f"{EXAMPLES}/minimal.yml:key", "--plugin-dir", str(tmp_path))
    assert "did not become ready" in said
    assert "no luck today" in said


def test_an_app_needs_a_key(tmp_path: Path) -> None:
    assert "must be the app export's path, a colon and the app's key" in refused("--app", f"{EXAMPLES}/minimal.yml")


def test_credentials_of_another_shape_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(["key"]))
    options = ("--app", f"{EXAMPLES}/minimal.yml:key", "--plugin-dir", str(PLUGIN), "--credentials", str(wrong))
    assert "must be a JSON object that maps each provider" in refused(*options)


def test_silence_has_limits(tmp_path: Path) -> None:
    """One for a call, one for the process: the SDK's heartbeat comes every ten seconds, so it is silent for three."""
    with started(tmp_path, "--plugin-idle-seconds", "0.5", "--plugin-silence-seconds", "3") as box:
        assert box.chat("!beat 0.1 8\n!say fine").answer == "fine"
        finished = box.chat("!sleep 1").one("workflow_finished")["data"]
        assert finished["error"] == "Request to Plugin Daemon Service failed-500"
        eventually(lambda: box.state()["plugin"]["pid"] is None)


def test_help_names_every_limit(box: RunningBox) -> None:
    command = [sys.executable, "-m", "demo.box", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    for option in ("--plugin-seconds", "--worker-slots", "--legacy-order", "(default 600)"):
        assert option in text


def test_the_box_serves_its_own_machine_alone(box: RunningBox) -> None:
    assert httpx.URL(box.ready["dify_url"]).host == "127.0.0.1"
