"""The banner names everything that is served, and no secret."""

from bridge.config import parse
from bridge.server.serving import banner


def test_it_says_what_is_served_and_where() -> None:
    apps = [
        {"model": "writer", "base_url": "http://dify/v1", "api_key": "app-secret"},
        {"model": "coder", "base_url": "http://other/v1", "api_key": "app-secret"},
    ]
    text = banner(parse({"apps": apps, "bridge_url": "http://clawback:8765"}), "http://127.0.0.1:8765")
    for told in ("http://127.0.0.1:8765/v1", "http://clawback:8765", "writer", "coder", "http://other/v1", "doctor"):
        assert told in text
    assert "app-secret" not in text


def test_without_apps_it_says_what_to_do() -> None:
    assert "clawback init" in banner(parse({}), "http://127.0.0.1:8765")


def test_it_says_aloud_that_other_machines_reach_it() -> None:
    tokens = dict.fromkeys(("client", "plugin"), f"sha256:{'0' * 64}")
    assert "other machines" in banner(parse({"host": "0.0.0.0", "tokens": tokens}), "http://127.0.0.1:8765")
    assert "other machines" not in banner(parse({}), "http://127.0.0.1:8765")
