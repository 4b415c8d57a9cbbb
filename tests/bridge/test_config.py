"""A configuration that cannot work is refused with what to change, and shows no secret."""

from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config, ConfigError, load, parse
from tools.tokens import hash_token, matches, new_token

APP = {"model": "a", "base_url": "http://127.0.0.1/v1", "api_key": "app-secret"}
TOKENS = {name: hash_token(name) for name in ("client", "plugin", "executor")}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hosst": "x"}, "hosst"),
        ({"apps": [{**APP, "api_key": ""}]}, "API Access"),
        ({"apps": [APP, APP]}, "two apps are named 'a'"),
        ({"apps": [{**APP, "base_url": "dify.local"}]}, "apps.0.base_url"),
        ({"apps": [{**APP, "api_key": "", "api_key_env": "CLAWBACK_NOT_SET"}]}, "CLAWBACK_NOT_SET"),
        ({"tokens": {"client": "plain"}}, "clawback token"),
        ({"limits": {"keepalive_seconds": 0}}, "limits.keepalive_seconds"),
        ({"host": "0.0.0.0"}, "reachable from other machines"),
        ({"host": "bridge.lan", "tokens": {"client": TOKENS["client"]}}, "a token is missing"),
    ],
)
def test_the_error_says_what_to_change(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(values)
    assert said in str(error.value)
    assert "app-secret" not in str(error.value)


def test_only_this_machine_is_served_unless_told_otherwise() -> None:
    assert Config().host == "127.0.0.1"
    assert parse({"host": "0.0.0.0", "tokens": TOKENS}).host == "0.0.0.0"
    assert parse({"host": "::1"}).host == "::1"


def test_a_key_is_never_in_a_repr() -> None:
    assert "app-secret" not in repr(parse({"apps": [APP]}))


def test_a_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAWBACK_KEY", "app-env")
    app = {"model": "a", "base_url": "http://127.0.0.1/v1", "api_key_env": "CLAWBACK_KEY"}
    assert parse({"apps": [app]}).apps[0].api_key.get_secret_value() == "app-env"


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration"):
        load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("port = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(broken)


def test_a_token_matches_its_hash_alone() -> None:
    token = new_token("client")
    assert token.startswith("clawback-client-")
    assert matches(token, hash_token(token))
    assert not matches(token + "x", hash_token(token))
    assert token not in hash_token(token)


def test_an_app_is_found_by_other_names_after_its_own() -> None:
    app = {"base_url": "http://127.0.0.1/v1", "api_key": "app-x"}
    config = parse({"apps": [
        app | {"model": "a", "aliases": ["claude-*", "gpt"]},
        app | {"model": "claude-b", "aliases": ["*"]},
    ]})  # fmt: skip
    names = ("a", "claude-haiku-4-5", "claude-b", "gpt", "gpt-5", "Claude-x")
    found = [config.app_called(name) for name in names]
    assert [app.model for app in found if app] == ["a", "a", "claude-b", "a", "claude-b", "claude-b"]
    # What a run remembers of its app is its own name.
    assert config.app("claude-haiku-4-5") is None
