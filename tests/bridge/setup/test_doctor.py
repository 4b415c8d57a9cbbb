"""`clawback doctor`: each red line is provoked, and doing what it says, and only that, turns it green."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from demo.stack import ROOT, Stack, free_port
from tests.bridge.setup import exports
from tests.bridge.setup.another_dify import another
from tests.bridge.setup.patient import Patient, another_dify, restart
from tools.wire import AGENT

PatientOf = Callable[..., Patient]


def test_own_files_and_the_bridge(patient_of: PatientOf) -> None:
    patient = patient_of()
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

    sound = patient.config.read_text()
    patient.config.write_text(f"{sound}\ncontext_window = 'wide'\n")
    assert patient.red("configuration") == f"Correct that key in {patient.config}"
    patient.config.write_text(f"{sound}\ncontext_window = 32000\n")
    assert patient.red("bridge", "--no-probe").startswith("Send it SIGHUP")
    patient.reload()
    patient.all_green("--no-probe")

    patient.config.write_text(re.sub(r'plugin = "sha256:\w+"\n', "", patient.config.read_text()))
    lines = patient.doctor("--no-probe")
    assert lines["tokens"]["state"] == lines["bridge"]["state"] == "failed"
    patient.follow(lines["tokens"]["advice"])
    patient.reload()
    patient.fill_in_form()
    patient.all_green()

    patient.stop()
    store = patient.folder / "data" / "bridge.sqlite3"
    for leftover in store.parent.glob("bridge.sqlite3-*"):
        leftover.unlink()
    store.write_bytes(b"this is no database " * 100)
    lines = patient.doctor("--no-probe")
    assert f"move {store} away" in lines["store"]["advice"]
    store.rename(store.with_suffix(".old"))
    patient.serve()
    patient.all_green()


def test_another_program_on_the_port(patient_of: PatientOf) -> None:
    patient = patient_of()
    patient.port = int(patient.dify.box_url.rpartition(":")[2])
    patient.begin()
    patient.follow(patient.red("bridge"))
    patient.serve()
    assert patient.doctor("--no-probe")["bridge"]["state"] == "ok"


def test_a_bridge_that_does_not_answer_yet_is_not_taken_for_another_program(patient: Patient) -> None:
    assert patient.bridge
    pid = patient.bridge.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, workers)):
        os.kill(each, signal.SIGSTOP)
    try:
        lines = patient.doctor("--no-probe")
    finally:
        for each in (pid, *map(int, workers)):
            os.kill(each, signal.SIGCONT)
    assert str(pid) in lines["bridge"]["text"]
    assert "another port" not in lines["bridge"]["advice"]
    assert "again in a minute" in lines["bridge"]["advice"]


def test_no_app_at_all(patient: Patient) -> None:
    text = patient.config.read_text()
    patient.config.write_text(text[: text.index("[[apps]]")])
    patient.reload()
    advice = patient.red("apps")
    patient.follow(advice, URL=patient.dify.box_url, KEY=patient.key)
    patient.reload()
    patient.all_green()


def test_dify_its_key_and_its_app(patient: Patient) -> None:
    patient.dify.box.stop()
    try:
        assert patient.red("Dify").startswith("Start Dify at")
    finally:
        patient.dify.box.start()
    patient.all_green()

    patient.init("--app", "a=app-of-yesterday", "--no-check")
    patient.reload()
    patient.follow(patient.red("key"), **{"a=KEY": f"a={patient.key}"})
    patient.reload()
    patient.all_green()

    for switch, line in (("published", "published"), ("enable_api", "key")):
        address = f"{patient.dify.box_url}/box/apps/Clawback minimal"
        httpx.post(address, json={switch: False})
        try:
            assert {"published": "publish it", "key": "switch on its API"}[line] in patient.red(line)
        finally:
            httpx.post(address, json={switch: True})
        patient.all_green()


def test_dify_is_not_where_the_configuration_says(patient: Patient) -> None:
    patient.init("--dify-url", f"http://127.0.0.1:{patient.port}", "--no-check")
    patient.reload()
    patient.follow(patient.red("Dify"), URL=patient.dify.box_url)
    patient.reload()
    patient.all_green()


def test_an_app_of_a_kind_that_is_not_served(patient: Patient) -> None:
    with another(patient.dify.box_url) as dify:
        dify.text_key = patient.dify.app_key("router")
        refused = patient.run("init", "--dify-url", dify.url, "--app", f"a={dify.text_key}")
        assert refused.returncode == 1
        assert "an app of the kind 'rag-pipeline'" in refused.stderr
        patient.init("--dify-url", f"{dify.url}/v1", "--app", f"a={dify.text_key}", "--no-check")
        patient.reload()
        patient.follow(patient.red("kind", "--no-probe"), **{"a=KEY": f"a={patient.key}"})
        patient.reload()
        patient.all_green("--no-probe")


def test_a_start_node_that_requires_an_input(patient_of: PatientOf) -> None:
    patient = patient_of("with-a-required-input").heal()
    advice = patient.red("inputs")
    line = re.search(r"inputs = \{.*?\}", advice)
    assert line
    patient.config.write_text(f"{patient.config.read_text()}{line.group()}\n")
    patient.reload()
    patient.all_green()


def test_the_plugin_s_form(patient: Patient) -> None:
    patient.fill_in_form(bridge_token="clawback-plugin-of-another-bridge")
    patient.follow(patient.red("plugin"))
    patient.reload()
    patient.fill_in_form()
    patient.all_green()

    patient.fill_in_form(bridge_url=f"http://127.0.0.1:{free_port()}")
    patient.fill_in_form(bridge_url=_named("Bridge URL", patient.red("plugin")))
    patient.all_green()

    patient.fill_in_form(bridge_url="", bridge_token="")
    advice = patient.red("plugin")
    patient.follow(advice)
    patient.reload()
    patient.fill_in_form(bridge_url=_named("Bridge URL", advice))
    patient.all_green()

    patient.empty_form()
    advice = patient.red("plugin")
    assert "fill in the form" in advice
    assert "Dify deletes its values when the plugin is uninstalled" in advice
    before = patient.form
    patient.follow(advice)
    patient.reload()
    patient.fill_in_form()
    patient.all_green()
    assert patient.form != before
    patient.form = before
    patient.fill_in_form()
    patient.all_green()


def _named(what: str, advice: str) -> str:
    """Return the value that an advice names for a field of the form."""
    named = re.search(rf"{what} to (\S+)\. ", advice)
    assert named, advice
    return named.group(1)


@pytest.mark.parametrize(
    ("field", "wrong", "what"),
    [
        ("upstream_api_key", "sk-wrong", "API key"),
        ("upstream_base_url", "http://127.0.0.1:{port}/v1", "base URL"),
        ("upstream_model", "no-such-model", "base URL and model"),
    ],
)
def test_the_upstream(field: str, wrong: str, what: str, patient: Patient) -> None:
    patient.fill_in_form(**{field: wrong.format(port=free_port())})
    assert f"correct the upstream's {what}" in patient.red("upstream")
    patient.fill_in_form()
    patient.all_green()


@pytest.mark.parametrize(
    ("app", "name", "words"),
    [
        ("without-callbacks", "callbacks", "switch on External tool callbacks"),
        ("of-another-provider", "plugin", "choose a model of Clawback in the app's LLM node"),
    ],
)
def test_the_llm_node(app: str, name: str, words: str, patient_of: PatientOf, dify: Stack) -> None:
    if exports.spoil(dify.folder / f"{app}.yml"):
        restart(dify)
    patient = patient_of(app).heal()
    patient.keep_form_of("langgenius/openai/openai")
    assert words in patient.red(name)
    exports.mend(dify.folder / f"{app}.yml")
    restart(dify)
    patient.all_green()


def test_an_app_without_an_llm_node_has_nothing_to_check(patient_of: PatientOf) -> None:
    patient = patient_of("without-an-llm-node").heal()
    patient.all_green()
    lines = patient.doctor()
    assert (lines["callbacks"]["state"], lines["answer"]["state"]) == ("skipped", "ok")
    assert "upstream" not in lines


def test_a_dify_that_does_not_say_whose_run_it_is(patient_of: PatientOf, dify: Stack) -> None:
    with another_dify(dify, "--no-end-users"):
        patient = patient_of("without-callback-key").heal()
        advice = patient.red("callbacks")
        line = re.search(r'find_run = "\w+"', advice)
        assert line
        patient.config.write_text(f"{patient.config.read_text()}{line.group()}\n")
        patient.reload()
        patient.all_green()


def test_a_plugin_of_another_version(patient: Patient, dify: Stack, tmp_path: Path) -> None:
    other = tmp_path / "plugin"
    other.mkdir()
    for name in ("manifest.yaml", "main.py", "provider", "tools", "_assets"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, other / name)
    wire = other / "tools" / "wire.py"
    wire.write_text(wire.read_text().replace("PROTOCOL = 1", "PROTOCOL = 99"))
    with another_dify(dify, plugin_dir=str(other)):
        assert "install the package" in patient.red("plugin")
    patient.all_green()


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("clawback-plugin/0.1.9", "older than"),
        ("python-httpx/0.28.1", "older than 0.2"),
        ("clawback-plugin/99.0.0", "newer than"),
    ],
)
def test_a_plugin_that_is_older_or_newer(patient: Patient, dify: Stack, tmp_path: Path, agent: str, words: str) -> None:
    other = tmp_path / "plugin"
    other.mkdir()
    for name in ("manifest.yaml", "main.py", "provider", "tools", "_assets"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, other / name)
    wire = other / "tools" / "wire.py"
    wire.write_text(wire.read_text().replace(AGENT, agent))
    with another_dify(dify, plugin_dir=str(other)):
        lines = patient.doctor()
        assert words in lines["plugin"]["text"]
        assert lines["plugin"]["state"] == "failed"
        assert ("Upgrade Clawback on this machine" if "newer" in words else "install the package") in lines["plugin"][
            "advice"
        ]


@pytest.mark.parametrize(
    ("app", "hop", "words"),
    [
        ("with-a-code-node", "sandbox", "docker compose up -d sandbox"),
        ("with-a-broken-template", "answer", "the failed node"),
    ],
    ids=["sandbox-down", "after-the-model-has-answered"],
)
def test_a_node_that_fails(patient_of: PatientOf, dify: Stack, app: str, hop: str, words: str) -> None:
    export = dify.folder / f"{app}.yml"
    if exports.spoil(export):
        restart(dify)
    patient = patient_of(app).heal()
    assert words in patient.red(hop)
    exports.mend(export)
    restart(dify)
    patient.all_green()


def test_an_app_with_a_form(patient_of: PatientOf, dify: Stack) -> None:
    patient = patient_of("with-a-form").heal()
    patient.all_green()
    line = patient.doctor()["form"]
    assert "has come to the form 'Review'" in line["text"]
    assert "a person answers it on the page, or by `clawback answer`" in line["text"]


def test_a_form_that_only_dify_can_show(patient_of: PatientOf, dify: Stack) -> None:
    if exports.spoil(dify.folder / "with-a-form-by-mail.yml"):
        restart(dify)
    patient = patient_of("with-a-form-by-mail").heal()
    patient.red("form")
    assert "add the web app" in patient.doctor()["form"]["text"]
    exports.mend(dify.folder / "with-a-form-by-mail.yml")
    restart(dify)
    patient.all_green()


def test_a_worker_that_does_not_run(patient: Patient, dify: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx.post(f"{dify.box_url}/box/worker/stop")
    try:
        assert "docker compose up -d worker" in patient.red("worker")
    finally:
        httpx.post(f"{dify.box_url}/box/worker/start")
    patient.all_green()


def test_the_endpoint_of_clawback_tools(patient: Patient, dify: Stack) -> None:
    url, token = f"{dify.box_url}/e/tools", dify.tools_token
    patient.init("--dify-tools", url, "--dify-tools-token", token)
    patient.reload()
    patient.all_green("--no-probe")
    assert patient.doctor("--no-probe")["Dify tools"]["text"] == f"{url}: now"

    path = dify.folder / "workspace.json"
    saved = path.read_text()
    path.write_text(json.dumps(json.loads(saved) | {"enabled": False}))
    try:
        assert patient.red("Dify tools", "--no-probe") == "Switch it on in Dify, under Plugins, Clawback Tools"
        assert "is switched off" in patient.doctor("--no-probe")["Dify tools"]["text"]
    finally:
        path.write_text(saved)
    patient.all_green("--no-probe")

    sound = patient.config.read_text()
    for wrong, text, advice in (
        (sound.replace(url, f"{url}-of-old"), "there is no endpoint", "Write the address that Dify shows"),
        (sound.replace(token, "another"), "refused the token", "Write the token of the endpoint's settings"),
        (sound.replace(url, f"http://127.0.0.1:{free_port()}/e/tools"), "cannot be reached", "Start Dify, or write"),
    ):
        patient.config.write_text(wrong)
        patient.reload()
        assert advice in patient.red("Dify tools", "--no-probe")
        assert text in patient.doctor("--no-probe")["Dify tools"]["text"]


def test_a_clock_that_is_wrong(patient: Patient) -> None:
    with another(patient.dify.box_url) as dify:
        patient.init("--dify-url", dify.url)
        patient.reload()
        patient.all_green("--no-probe")
        dify.ahead = 3600.0
        advice = patient.red("clock", "--no-probe")
        assert "timedatectl set-ntp true" in advice
        dify.ahead = 0.0
        patient.all_green("--no-probe")


def test_waits_that_dify_cuts_short(patient: Patient, dify: Stack) -> None:
    ask = {"model": "a", "messages": [{"role": "user", "content": "Slowly.\n!sleep 4\n!say too late"}]}
    token = patient.init("--renew", "client")["tokens"]["client"]
    patient.serve()
    with another_dify(dify, plugin_seconds="2"):
        url = f"http://127.0.0.1:{patient.port}/v1/chat/completions"
        cut = httpx.post(url, json=ask, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert cut.status_code >= 400
        advice = patient.red("waits")
        assert "raise PLUGIN_MAX_EXECUTION_TIMEOUT" in advice
        assert "start the bridge again" in advice
    patient.serve()
    patient.all_green()


def test_openclaw_s_entry(patient: Patient, tmp_path: Path) -> None:
    told = patient.init("--renew", "client")
    patient.reload()
    path = tmp_path / "openclaw" / "openclaw.json"
    path.parent.mkdir()
    path.write_text(json.dumps(told["openclaw"]))
    patient.all_green("--no-probe")
    entry = told["openclaw"]["models"]["providers"]["clawback"]
    entry["apiKey"] = "clawback-client-of-yesterday"
    entry["models"][0]["compat"] = {}
    entry["models"][0]["contextWindow"] = 1
    path.write_text(json.dumps(told["openclaw"]))
    text = patient.doctor("--no-probe")["OpenClaw"]["text"]
    for problem in ("not the bridge's client token", "sendSessionAffinityHeaders", "contextWindow"):
        assert problem in text
    path.write_text("{ models: ")
    assert "openclaw config validate" in patient.red("OpenClaw", "--no-probe")


def test_the_probe_leaves_no_session_behind(patient: Patient) -> None:
    patient.doctor()
    users = {run["user"] for run in httpx.get(f"{patient.dify.box_url}/box/state").json()["runs"]}
    patient.doctor()
    again = {run["user"] for run in httpx.get(f"{patient.dify.box_url}/box/state").json()["runs"]}
    assert len(again - users) == 1
