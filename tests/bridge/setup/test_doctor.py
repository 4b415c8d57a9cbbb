"""`clawback doctor`: each red line is provoked, and doing what it says, and only that, turns it green."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.service import Service
from demo.stack import Stack, free_port
from tests.e2e.conftest import export_with

pytestmark = pytest.mark.timeout(300)

Lines = dict[str, dict[str, Any]]


@dataclass
class Patient:
    """A bridge of its own beside a Dify, and what a person does to either."""

    folder: Path
    dify: Stack
    key: str
    port: int = field(default_factory=free_port)
    bridge: Service | None = None
    form: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "clawback.toml"

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        arguments = [sys.executable, "-m", "bridge.cli", command[0], "--config", str(self.config), *command[1:]]
        return subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=90)

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

    def fill_in_form(self, **other: str) -> None:
        """Save the provider's form in Dify."""
        values = {"bridge_url": self.form["Bridge URL"], "bridge_token": self.form["Bridge token"], **other}
        self.dify._write_credentials(values)
        self.restart_dify()

    def restart_dify(self) -> None:
        self.dify.box.stop()
        self.dify.box.start()

    def serve(self) -> None:
        if self.bridge:
            self.bridge.stop()
        command = [sys.executable, "-m", "bridge.cli", "serve", "--json", "--config", str(self.config)]
        self.bridge = Service("own-bridge", command, self.folder / "bridge.log")

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

    def follow(self, advice: str, **replaced: str) -> None:
        """Run the `clawback init` that an advice holds, word by word."""
        command = re.search(r"clawback init((?: --?[\w-]+| [\w=]+)*)", advice)
        assert command, advice
        self.init(*[replaced.get(word, word) for word in shlex.split(command.group(1))])

    def all_green(self, *arguments: str) -> None:
        bad = [line for line in self.doctor(*arguments).values() if line["state"] == "failed"]
        assert bad == []


@pytest.fixture
def make_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Patient]]:
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "openclaw"))
    made: list[Patient] = []

    def make(*, healthy: bool = True, **options: Any) -> Patient:
        folder = tmp_path / "dify"
        folder.mkdir()
        dify = Stack(folder, **{"apps": ["minimal"], **options})
        patient = Patient(tmp_path, dify, str(dify.box.ready["apps"][0]["key"]))
        made.append(patient)
        if healthy:
            patient.begin()
            patient.fill_in_form()
            patient.serve()
        return patient

    yield make
    for patient in made:
        if patient.bridge:
            patient.bridge.stop()
        patient.dify.stop()


MakePatient = Callable[..., Patient]


def test_own_files_and_the_bridge(make_patient: MakePatient) -> None:
    patient = make_patient(healthy=False)
    assert patient.red("configuration") == "Run: clawback init"
    patient.begin()
    patient.fill_in_form()
    assert "clawback serve" in patient.red("bridge")
    patient.serve()
    patient.all_green()

    patient.config.chmod(0o644)
    advice = patient.red("privacy", "--no-probe")
    subprocess.run(shlex.split(advice.removeprefix("Run: ")), check=True)
    patient.all_green("--no-probe")

    patient.config.write_text(re.sub(r'plugin = "sha256:\w+"\n', "", patient.config.read_text()))
    lines = patient.doctor("--no-probe")
    assert lines["tokens"]["state"] == lines["bridge"]["state"] == "failed"
    patient.follow(lines["tokens"]["advice"])
    patient.serve()
    patient.fill_in_form()
    patient.all_green()

    assert patient.bridge
    patient.bridge.stop()
    store = patient.folder / "data" / "bridge.sqlite3"
    for leftover in store.parent.glob("bridge.sqlite3-*"):
        leftover.unlink()
    store.write_bytes(b"this is no database " * 100)
    lines = patient.doctor("--no-probe")
    assert f"move {store} away" in lines["store"]["advice"]
    store.rename(store.with_suffix(".old"))
    patient.serve()
    patient.all_green()


def test_another_program_on_the_port(make_patient: MakePatient) -> None:
    patient = make_patient(healthy=False)
    patient.port = int(patient.dify.box_url.rpartition(":")[2])
    patient.begin()
    advice = patient.red("bridge")
    patient.follow(advice)
    patient.serve()
    assert patient.doctor("--no-probe")["bridge"]["state"] == "ok"


def test_dify_its_key_and_its_app(make_patient: MakePatient) -> None:
    patient = make_patient()
    patient.dify.box.stop()
    assert patient.red("Dify").startswith("Start Dify at")
    patient.dify.box.start()
    patient.all_green()

    patient.init("--app", "a=app-of-yesterday", "--no-check")
    patient.serve()
    patient.follow(patient.red("key"), **{"a=KEY": f"a={patient.key}"})
    patient.serve()
    patient.all_green()

    for switch, line in (("published", "published"), ("enable_api", "key")):
        address = f"{patient.dify.box_url}/box/apps/Clawback minimal"
        httpx.post(address, json={switch: False})
        assert {"published": "publish it", "key": "switch its API on"}[line] in patient.red(line)
        httpx.post(address, json={switch: True})
        patient.all_green()


def test_the_plugin_s_form(make_patient: MakePatient) -> None:
    patient = make_patient()
    patient.fill_in_form(bridge_token="clawback-plugin-of-another-bridge")
    patient.follow(patient.red("plugin"))
    patient.serve()
    patient.fill_in_form()
    patient.all_green()

    patient.fill_in_form(bridge_url=f"http://127.0.0.1:{free_port()}")
    advice = patient.red("plugin")
    named = re.search(r"Bridge URL to (\S+)\. ", advice)
    assert named
    patient.fill_in_form(bridge_url=named.group(1))
    patient.all_green()

    patient.fill_in_form(upstream_api_key="sk-wrong")
    assert "correct the upstream's API key" in patient.red("upstream")
    patient.fill_in_form()
    patient.all_green()


@pytest.mark.parametrize(
    ("parameters", "options", "name"),
    [
        ({"external_tool_callback_enabled": False}, [], "callbacks"),
        ({"callback_key": None}, ["--no-end-users"], "callbacks"),
    ],
)
def test_the_node_and_how_its_run_is_found(
    parameters: dict[str, Any], options: list[str], name: str, make_patient: MakePatient, tmp_path: Path
) -> None:
    export = export_with(tmp_path, "minimal", **parameters)
    patient = make_patient(apps=[], exports={"m": export}, box_options=options)
    advice = patient.red(name)
    if options:
        assert 'find_run = "marker"' in advice
        patient.config.write_text(patient.config.read_text() + 'find_run = "marker"\n')
        patient.serve()
    else:
        assert "external_tool_callback_enabled to True" in advice
        export.write_text(export_with(tmp_path, "minimal").read_text())
        patient.restart_dify()
    patient.all_green()


def test_openclaw_s_entry(make_patient: MakePatient, tmp_path: Path) -> None:
    patient = make_patient()
    told = patient.init("--renew", "client")
    patient.serve()
    path = tmp_path / "openclaw" / "openclaw.json"
    path.parent.mkdir()
    path.write_text(json.dumps(told["openclaw"]))
    patient.all_green("--no-probe")
    entry = told["openclaw"]["models"]["providers"]["clawback"]
    entry["apiKey"] = "clawback-client-of-yesterday"
    entry["models"][0]["compat"] = {}
    path.write_text(json.dumps(told["openclaw"]))
    lines = patient.doctor("--no-probe")
    assert "not the bridge's client token" in lines["OpenClaw"]["text"]
    assert "sendSessionAffinityHeaders" in lines["OpenClaw"]["text"]
    assert "--apply-openclaw" in lines["OpenClaw"]["advice"]
    path.write_text(json.dumps(patient.init("--renew", "client")["openclaw"]))
    patient.serve()
    patient.all_green("--no-probe")


def test_the_probe_leaves_no_session_behind(make_patient: MakePatient) -> None:
    patient = make_patient()
    patient.doctor()
    users = {run["user"] for run in httpx.get(f"{patient.dify.box_url}/box/state").json()["runs"]}
    patient.doctor()
    again = {run["user"] for run in httpx.get(f"{patient.dify.box_url}/box/state").json()["runs"]}
    assert len(again - users) == 1
