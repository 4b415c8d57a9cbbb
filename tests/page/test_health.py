"""Doctor's findings on the page, from the process that the command runs, too."""

import threading
from pathlib import Path

import pytest

from bridge.app import create_app
from bridge.config import load
from bridge.page import doctor_run
from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person, words
from tools.tokens import hash_token

SECONDS = 60


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    """A bridge that was started with a file, whose app is out of reach."""
    path = tmp_path / "clawback.toml"
    path.touch(mode=0o600)
    tokens = {name: f"{name}-token" for name in ("client", "plugin", "executor", "operator")}
    lines = [f'data_dir = "{tmp_path}"', "port = 0", "[tokens]"]
    lines += [f'{name} = "{hash_token(token)}"' for name, token in tokens.items()]
    lines += ["[[apps]]", 'model = "assistant"', 'base_url = "http://127.0.0.1:9/v1"', 'api_key = "app-x"']
    path.write_text("\n".join(lines))
    config = load(path)
    return Bridge(create_app(config), config, tokens)


def found(ann: Person) -> str:
    """Wait until doctor is done."""
    for _ in range(SECONDS * 10):
        page = words(ann.get("/health").text)
        if "Checking" not in page:
            return page
        threading.Event().wait(0.1)
    raise AssertionError("doctor did not come to an end")


@pytest.mark.parts
def test_doctor_looks_when_it_is_asked_and_says_what_to_do(ann: Person) -> None:
    assert "No check has run yet." in words(ann.get("/health").text)
    assert ann.send("/health", "/health").location == "/health"
    page = found(ann)
    assert "checks failed" in page
    assert "configuration : works" in page
    assert "bridge : does not work The bridge is not running" in page
    assert "→ Run in another terminal, and leave it running: clawback serve" in page
    assert "assistant Dify : does not work" in page
    page = words(ann.get("/health", **{"Accept-Language": "zh"}).text)
    assert "配置 : 正常" in page
    assert "Bridge : 不正常 Bridge 没有运行 → 在另一个终端中运行并保持运行：clawback serve" in page
    assert "assistant Dify : 不正常 无法连接 http://127.0.0.1:9" in page


@pytest.mark.parts
def test_who_asks_twice_gets_one_examination(ann: Person) -> None:
    ann.send("/health", "/health")
    began = _began(ann)
    ann.send("/health", "/health")
    assert _began(ann) == began
    found(ann)


@pytest.mark.parts
def test_an_examination_has_an_end(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_run, "MOST_SECONDS", 0.01)
    ann.send("/health", "/health")
    assert "The check took too long and was stopped" in found(ann)


@pytest.mark.parts
def test_what_breaks_is_told(ann: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    ann.send("/health", "/health")
    assert "The check ended early" in found(ann)


def _began(ann: Person) -> str:
    """When the examination that is under way began."""
    page = ann.get("/health").text
    assert "Checking" in page
    return page.split('data-since="')[1].split('"')[0]
