"""`clawback init`: every answer is checked at once, nothing is asked twice, and what people change stays."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bridge.config import load
from demo.stack import Stack, free_port
from tests.bridge.setup.commands import Command
from tests.e2e.test_dify_tools import picked, tool
from tests.levels import starts
from tools.tokens import matches


def key(dify: Stack, app: str) -> str:
    return next(str(each["key"]) for each in dify.box.ready["apps"] if each["name"] == f"Clawback {app}")


def test_flags_alone_make_a_private_configuration_and_everything_to_paste(
    dify: Stack, init: Command, config: Path
) -> None:
    done = init("--dify-url", dify.box_url, "--app", f"assistant={key(dify, 'minimal')}", "--place", "docker")
    assert done.returncode == 0, done.stderr
    assert config.stat().st_mode & 0o777 == 0o600
    written = load(config)
    assert [app.model for app in written.apps] == ["assistant"]
    assert written.apps[0].base_url == dify.dify_url
    tokens = re.findall(r"clawback-(client|plugin|executor|operator)-[\w-]+", done.stdout)
    assert sorted(tokens) == ["client", "executor", "operator", "plugin"]
    for match in re.finditer(r"clawback-(\w+?)-[\w-]+", done.stdout):
        assert matches(match.group(), getattr(written.tokens, match.group(1)))
        assert match.group() not in config.read_text()
    for told in ("http://host.docker.internal:8765", "external_tool_callback_enabled", "sendSessionAffinityHeaders"):
        assert told in done.stdout


def test_the_store_stays_where_it_is_wherever_the_bridge_is_started(
    dify: Stack, init: Command, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker")
    (tmp_path / "file").touch()
    for name in ("file", "file/store"):
        refused = init(*flags, "--data-dir", name)
        assert refused.returncode == 1
        assert f"{tmp_path / 'file'} is a file: name a folder" in refused.stderr
        assert not config.exists()
    nobody_s = init(*flags, "--data-dir", "~no-such-user/store")
    assert (nobody_s.returncode, "names no folder" in nobody_s.stderr) == (1, True)
    assert init(*flags, "--data-dir", "store").returncode == 0
    assert load(config).data_dir == tmp_path / "store"


def test_a_lost_token_of_the_plugin_is_followed_by_a_further_one(dify: Stack, init: Command, config: Path) -> None:
    flags = ("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker")
    first = json.loads(init(*flags, "--json").stdout)["tokens"]["plugin"]
    shown = [init("--show-plugin") for _ in range(2)]
    made = [re.findall(r"clawback-plugin-[\w-]+", each.stdout) for each in shown]
    assert [len(each) for each in made] == [1, 1], shown
    for told in ("http://host.docker.internal:8765", "earlier ones stay valid", "[[plugins]]", "plugin-2"):
        assert told in shown[0].stdout
    written = load(config)
    assert matches(first, written.tokens.plugin)
    assert [plugin.name for plugin in written.plugins] == ["plugin-2", "plugin-3"]
    for (token,), plugin in zip(made, written.plugins, strict=True):
        assert matches(token, plugin.token)
        assert token not in config.read_text()


def test_a_second_run_keeps_tokens_and_edits_and_adds_apps(dify: Stack, init: Command, config: Path) -> None:
    init("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker")
    edited = config.read_text() + "context_window = 32000  # mine\n\n[limits]\nkeep_days = 3\n"
    config.write_text(edited)
    tokens = load(config).tokens
    again = init("--json")
    assert json.loads(again.stdout)["changed"] is False
    assert config.read_text() == edited
    added = json.loads(init("--app", key(dify, "router"), "--json").stdout)
    assert added["models"] == ["clawback-minimal", "clawback-router"]
    assert added["tokens"] == {}
    assert config.read_text().startswith(edited)
    assert load(config).tokens == tokens
    assert load(config).apps[0].context_window == 32000


def test_the_same_key_is_the_same_app(dify: Stack, init: Command) -> None:
    init("--dify-url", dify.box_url, "--app", f"mine={key(dify, 'minimal')}", "--place", "docker")
    assert json.loads(init("--app", key(dify, "minimal"), "--json").stdout)["models"] == ["mine"]


def test_a_new_key_for_a_model_takes_the_old_one_s_place(dify: Stack, init: Command, config: Path) -> None:
    init("--dify-url", dify.box_url, "--app", f"a={key(dify, 'minimal')}", "--place", "docker")
    init("--app", f"b={key(dify, 'router')}")
    init("--app", f"a={key(dify, 'router')}")
    apps = {app.model: app.api_key.get_secret_value() for app in load(config).apps}
    assert apps == {"a": key(dify, "router"), "b": key(dify, "router")}


def test_a_renewed_token_is_shown_and_the_others_stay(dify: Stack, init: Command, config: Path) -> None:
    init("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker")
    before = load(config).tokens
    made = json.loads(init("--renew", "client", "--json").stdout)
    assert list(made["tokens"]) == ["client"]
    assert made["openclaw"]["models"]["providers"]["clawback"]["apiKey"] == made["tokens"]["client"]
    after = load(config).tokens
    assert matches(made["tokens"]["client"], after.client)
    assert (before.plugin, before.executor) == (after.plugin, after.executor)


def test_dify_may_move(dify: Stack, init: Command, config: Path) -> None:
    init("--dify-url", "http://elsewhere.invalid/v1", "--app", key(dify, "minimal"), "--no-check", "--place", "docker")
    init("--dify-url", dify.box_url)
    (app,) = load(config).apps
    assert (app.base_url, app.api_key.get_secret_value()) == (dify.dify_url, key(dify, "minimal"))


@pytest.mark.parametrize("typed", ["{url}", "{url}/", "{url}/v1", "{url}/apps", "{host}"])
def test_the_address_may_be_typed_as_people_know_it(typed: str, dify: Stack, init: Command, config: Path) -> None:
    address = typed.format(url=dify.box_url, host=dify.box_url.removeprefix("http://"))
    assert init("--dify-url", address, "--app", key(dify, "minimal"), "--place", "docker").returncode == 0
    assert load(config).apps[0].base_url == dify.dify_url


@pytest.mark.parametrize(
    ("place", "host", "bridge_url"),
    [
        ("same-machine", "127.0.0.1", "http://127.0.0.1:9000"),
        ("docker", "0.0.0.0", "http://host.docker.internal:9000"),
        ("container", "0.0.0.0", "http://clawback:9000"),
        ("lan", "0.0.0.0", "http://127.0.0.1:9000"),
    ],
)
def test_the_place_settles_what_to_bind_and_what_dify_must_use(
    place: str, host: str, bridge_url: str, dify: Stack, init: Command, config: Path
) -> None:
    init("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", place, "--port", "9000")
    written = load(config)
    assert (written.host, written.bridge_url) == (host, bridge_url)
    init("--port", "9001")
    assert load(config).bridge_url == bridge_url.replace("9000", "9001")


def test_a_tunnel_s_address_is_only_known_to_its_owner(dify: Stack, init: Command, config: Path) -> None:
    answers = ["--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "tunnel"]
    refused = init(*answers)
    assert refused.returncode == 2
    assert "--bridge-url is missing" in refused.stderr
    assert not config.exists()
    init(*answers, "--bridge-url", "https://bridge.example/")
    assert (load(config).host, load(config).bridge_url) == ("127.0.0.1", "https://bridge.example")


def test_a_wrong_address_is_said_at_once(dify: Stack, init: Command, config: Path) -> None:
    nobody = init("--dify-url", f"http://127.0.0.1:{free_port()}", "--app", "app-x", "--place", "docker")
    assert "Check that Dify is running, and that this is its address" in nobody.stderr
    no_dify = init("--dify-url", dify.upstream.base_url, "--app", "app-x", "--place", "docker")
    assert "is not Dify" in no_dify.stderr
    assert (nobody.returncode, no_dify.returncode) == (1, 1)
    assert not config.exists()


def test_a_wrong_key_is_said_at_once_and_not_shown(dify: Stack, init: Command, config: Path) -> None:
    done = init("--dify-url", dify.box_url, "--app", "app-not-this-one", "--place", "docker")
    assert done.returncode == 1
    assert "does not know this key. Copy one from the app's API Access page" in done.stderr
    assert "app-not-this-one" not in done.stderr
    assert not config.exists()


def test_an_app_that_is_not_published_is_kept_and_said(dify: Stack, init: Command, config: Path) -> None:
    httpx.post(f"{dify.box_url}/box/apps/Clawback router", json={"published": False})
    try:
        done = init("--dify-url", dify.box_url, "--app", key(dify, "router"), "--place", "docker")
    finally:
        httpx.post(f"{dify.box_url}/box/apps/Clawback router", json={"published": True})
    assert done.returncode == 0
    assert "cannot answer yet" in done.stderr
    assert "publish it" in done.stderr
    assert load(config).apps


def test_without_a_terminal_the_missing_answer_names_its_flag(dify: Stack, init: Command) -> None:
    for given, missing in (
        ([], "--dify-url"),
        (["--dify-url", dify.box_url], "--app"),
        (["--dify-url", dify.box_url, "--app", key(dify, "minimal")], "--place"),
    ):
        done = init(*given)
        assert done.returncode == 2
        assert f"{missing} is missing" in done.stderr


def test_keys_may_come_from_the_environment(
    dify: Stack, init: Command, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    monkeypatch.setenv("CLAWBACK_APPS", f"a={key(dify, 'minimal')} b={key(dify, 'router')}")
    init("--dify-url", dify.box_url, "--place", "docker")
    assert [app.model for app in load(config).apps] == ["a", "b"]


def test_a_broken_configuration_is_left_alone(init: Command, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("port = \n")
    done = init("--renew", "client")
    assert done.returncode == 1
    assert "not valid TOML" in done.stderr
    assert config.read_text() == "port = \n"


def test_a_configuration_that_others_could_read_becomes_private(dify: Stack, init: Command, config: Path) -> None:
    init("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker")
    config.chmod(0o644)
    init("--json")
    assert config.stat().st_mode & 0o777 == 0o600


def test_a_person_is_asked_until_each_answer_works(dify: Stack, config: Path) -> None:
    answers = {
        "What is the address of your Dify": [f"http://127.0.0.1:{free_port()}", dify.box_url],
        "The app's key": ["app-wrong", key(dify, "minimal")],
        "Choose": ["same-machine"],
        "Use tools of Dify, too": ["n"],
    }
    output = _converse([sys.executable, "-m", "bridge.cli", "init", "--config", str(config)], answers)
    assert "Check that Dify is running" in output
    assert "does not know this key" in output
    assert "Found the app “Clawback minimal”" in output
    assert key(dify, "minimal") not in output
    assert load(config).apps[0].model == "clawback-minimal"
    nothing = {"Add another app?": ["n"], "Use tools of Dify, too": ["n"]}
    again = _converse([sys.executable, "-m", "bridge.cli", "init", "--config", str(config)], nothing)
    assert "Kept" in again


@pytest.fixture(scope="module")
@starts("e2e")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Dify with tools of its own, of which some are picked."""
    tools = [tool("builtin", "google", "google_search", "seven results"), tool("builtin", "mail", "send_mail", "sent")]
    folder = tmp_path_factory.mktemp("workspace")
    with Stack(folder, apps=["minimal"], workspace={"tools": tools, "picked": picked(tools)}) as running:
        yield running


def test_the_endpoint_of_clawback_tools_is_tried_and_written(workspace: Stack, init: Command, config: Path) -> None:
    url = f"{workspace.box_url}/e/tools"
    app = ("--dify-url", workspace.box_url, "--app", key(workspace, "minimal"), "--place", "docker")
    assert init(*app).returncode == 0
    before = config.read_text()
    wrong = init("--dify-tools", url, "--dify-tools-token", "not the token")
    assert (wrong.returncode, config.read_text()) == (1, before)
    assert "refused the token" in wrong.stderr
    assert "not the token" not in wrong.stderr
    missing = init("--dify-tools", url)
    assert missing.returncode == 2
    assert "--dify-tools-token is missing" in missing.stderr
    assert "is not an address" in init("--dify-tools", "dify.example", "--dify-tools-token", "x").stderr

    done = init("--dify-tools", f"{url}/call", "--dify-tools-token", workspace.tools_token)
    assert done.returncode == 0, done.stderr
    assert "google_search, send_mail" in done.stdout
    assert workspace.tools_token not in done.stdout
    [tools] = load(config).dify_tools
    assert (tools.name, tools.url, tools.token.get_secret_value()) == ("dify", url, workspace.tools_token)
    assert config.read_text().startswith(before.rstrip("\n"))

    text = config.read_text().replace(url, "http://elsewhere/e/x").replace('name = "dify"\n', "# mine\n")
    config.write_text(text)
    said = json.loads(init("--dify-tools", url, "--dify-tools-token", workspace.tools_token, "--json").stdout)
    assert said["dify_tools"] == {"name": "dify", "url": url, "tools": ["google_search", "send_mail"]}
    assert config.read_text() == text.replace("http://elsewhere/e/x", url)

    other = init("--dify-tools", f"other={url}", "--dify-tools-token", workspace.tools_token)
    assert [each.name for each in load(config).dify_tools] == ["dify", "other"], other.stderr


def test_a_person_is_asked_for_dify_s_tools(workspace: Stack, config: Path) -> None:
    url = f"{workspace.box_url}/e/tools"
    command = [sys.executable, "-m", "bridge.cli", "init", "--config"]
    answers = {
        "What is the address of your Dify": [workspace.box_url],
        "The app's key": [key(workspace, "minimal")],
        "Choose": ["same-machine"],
        "Use tools of Dify, too": ["y"],
        "The token in the settings": [workspace.tools_token],
        "The endpoint's address": ["http://127.0.0.1:1/e/x", url],
    }
    output = _converse([*command, str(config)], answers)
    assert "cannot be reached" in output
    assert "google_search, send_mail" in output
    assert workspace.tools_token not in output
    assert load(config).dify_tools[0].url == url


def test_a_token_is_made_for_an_endpoint_that_is_not_there_yet(workspace: Stack, init: Command, config: Path) -> None:
    """What is shown is what goes into the endpoint's settings; here it never does, so the address is refused."""
    main, other = pty.openpty()
    app = ("--dify-url", workspace.box_url, "--app", key(workspace, "minimal"), "--place", "docker")
    assert init(*app).returncode == 0
    command = [sys.executable, "-m", "bridge.cli", "init", "--config", str(config)]
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other)
    os.close(other)
    _shown_until(main, "Add another app?")
    os.write(main, b"n\n")
    _shown_until(main, "Use tools of Dify, too")
    os.write(main, b"y\n")
    _shown_until(main, "leave it empty for a new one")
    os.write(main, b"\n")
    shown = _shown_until(main, "The endpoint's address")
    assert re.search(r"as its token: clawback-tools-[\w-]{40,}", shown)
    os.write(main, f"{workspace.box_url}/e/tools\n".encode())
    assert "refused the token" in _shown_until(main, "refused the token")
    process.terminate()
    process.wait(10)
    os.close(main)
    assert load(config).dify_tools == []


def _shown_until(terminal: int, text: str) -> str:
    shown, ends = "", time.monotonic() + 60
    while text not in shown and time.monotonic() < ends:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    assert text in shown, shown
    return shown


def _converse(command: list[str], answers: dict[str, list[str]]) -> str:
    """Answer questions at a terminal, in their order; return all that was shown."""
    main, other = pty.openpty()
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, close_fds=True)
    os.close(other)
    shown, seen, ends = "", 0, time.monotonic() + 60
    while time.monotonic() < ends:
        if select.select([main], [], [], 0.2)[0]:
            try:
                piece = os.read(main, 65536)
            except OSError:
                break
            shown += piece.decode(errors="replace")
            for question, waiting in answers.items():
                if waiting and question in shown[seen:] and shown.rstrip().endswith((":", "]")):
                    seen = len(shown)
                    os.write(main, f"{waiting.pop(0)}\n".encode())
        elif process.poll() is not None:
            break
    assert process.wait(10) == 0, shown
    os.close(main)
    return shown


def test_claude_code_s_settings_gain_the_bridge_and_keep_the_rest(
    dify: Stack, init: Command, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    settings = tmp_path / "claude" / "settings.json"
    settings.parent.mkdir()
    before = {"theme": "dark", "env": {"ANTHROPIC_BASE_URL": "https://elsewhere", "MINE": "1"}}
    settings.write_text(json.dumps(before))
    app = ("--dify-url", dify.box_url, "--app", f"assistant={key(dify, 'minimal')}", "--place", "docker")
    done = init(*app, "--apply", "claude-code")
    assert done.returncode == 0, done.stderr
    written = json.loads(settings.read_text())
    env = written["env"]
    assert (written["theme"], env["MINE"], env["ANTHROPIC_BASE_URL"]) == ("dark", "1", "http://127.0.0.1:8765")
    assert matches(env["ANTHROPIC_AUTH_TOKEN"], load(config).tokens.client)
    assert env["ANTHROPIC_MODEL"] == env["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "assistant"
    assert settings.stat().st_mode & 0o777 == 0o600
    kept = [path for path in settings.parent.iterdir() if path != settings]
    assert [json.loads(path.read_text()) for path in kept] == [before]
    assert '"ANTHROPIC_MODEL": "assistant"' in done.stderr, "what is written is shown"
    assert env["ANTHROPIC_AUTH_TOKEN"] not in done.stderr

    late = init("--port", "8766", "--apply", "claude-code")
    assert late.returncode != 0
    assert "--renew client" in late.stderr


def test_codex_gains_a_provider(
    dify: Stack, init: Command, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    settings = tmp_path / "codex" / "config.toml"
    settings.parent.mkdir()
    before = '# mine\nmodel = "other"\napproval_policy = "never"\n\n[tui]\ntheme = "dark" # too\n'
    settings.write_text(before)
    app = ("--dify-url", dify.box_url, "--app", f"assistant={key(dify, 'minimal')}", "--place", "docker")
    done = init(*app, "--apply", "codex")
    assert done.returncode == 0, done.stderr
    text = settings.read_text()
    written = tomllib.loads(text)
    provider = written["model_providers"]["clawback"]
    assert (written["model"], written["model_provider"]) == ("assistant", "clawback")
    assert (written["approval_policy"], written["tui"]) == ("never", {"theme": "dark"})
    assert "# mine" in text
    assert (provider["base_url"], provider["wire_api"]) == ("http://127.0.0.1:8765/v1", "responses")
    assert matches(provider["experimental_bearer_token"], load(config).tokens.client)
    assert provider["experimental_bearer_token"] not in done.stderr
    assert settings.stat().st_mode & 0o777 == 0o600
    assert [path.read_text() for path in settings.parent.iterdir() if path != settings] == [before]

    settings.write_text("model = ")
    broken = init(*app, "--renew", "client", "--apply", "codex")
    assert broken.returncode != 0
    assert "config.toml" in broken.stderr
    assert settings.read_text() == "model = "


def test_opencode_gains_a_provider(
    dify: Stack, init: Command, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    settings = tmp_path / "xdg" / "opencode" / "opencode.json"
    settings.parent.mkdir(parents=True)
    before = '{"theme": "dark", "provider": {"mine": {"name": "Mine"}}}'
    settings.write_text(before)
    app = ("--dify-url", dify.box_url, "--app", f"assistant={key(dify, 'minimal')}", "--place", "docker")
    done = init(*app, "--apply", "opencode")
    assert done.returncode == 0, done.stderr
    written = json.loads(settings.read_text())
    assert (written["model"], written["small_model"], written["theme"]) == (*["clawback/assistant"] * 2, "dark")
    assert written["provider"]["mine"] == {"name": "Mine"}
    provider = written["provider"]["clawback"]
    assert list(provider["models"]) == ["assistant"]
    assert provider["options"]["baseURL"] == "http://127.0.0.1:8765/v1"
    assert matches(provider["options"]["apiKey"], load(config).tokens.client)
    assert provider["options"]["apiKey"] not in done.stderr
    assert settings.stat().st_mode & 0o777 == 0o600
    assert [path.read_text() for path in settings.parent.iterdir() if path != settings] == [before]


def test_agents_whose_settings_have_the_old_token_are_named_and_what_was_done_is_not_asked_for_again(
    dify: Stack, init: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, folder in (("CLAUDE_CONFIG_DIR", "claude"), ("CODEX_HOME", "codex"), ("XDG_CONFIG_HOME", "xdg")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    app = ("--dify-url", dify.box_url, "--app", f"assistant={key(dify, 'minimal')}", "--place", "docker")
    first = init(*app, "--apply", "codex")
    assert "Bridge token" in first.stdout
    second = init("--renew", "client", "--apply", "claude-code")
    assert "settings of codex have the old client token" in second.stderr
    assert not [words for words in ("Bridge token", "openclaw") if words in second.stdout]
    (advice,) = re.findall(r"clawback (init --renew client[\w -]+)", second.stderr)
    both = init(*advice.split()[1:])
    assert (both.returncode, "old client token" in both.stderr) == (0, False), both.stderr
    codex = tomllib.loads((tmp_path / "codex/config.toml").read_text())["model_providers"]["clawback"]
    claude = json.loads((tmp_path / "claude/settings.json").read_text())["env"]
    assert codex["experimental_bearer_token"] == claude["ANTHROPIC_AUTH_TOKEN"]


def test_settings_that_cannot_be_read_are_left_alone(
    dify: Stack, init: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    settings = tmp_path / "settings.json"
    app = ("--dify-url", dify.box_url, "--app", key(dify, "minimal"), "--place", "docker", "--renew", "client")
    for broken in ("{ // a comment", "[]"):
        settings.write_text(broken)
        done = init(*app, "--apply", "claude-code")
        assert done.returncode != 0
        assert "settings.json" in done.stderr
        assert settings.read_text() == broken
