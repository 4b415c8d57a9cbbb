"""The reference says what the code says."""

import runpy
from pathlib import Path
from typing import Any

import click
import pytest

from bridge.cli import main
from bridge.config import App, Config, DifyTools, Limits, Tokens, Traces

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
MADE: dict[str, Any] = runpy.run_path(str(REFERENCE / "generate.py"))


@pytest.mark.parametrize("page", MADE["PAGES"])
def test_a_page_is_what_the_code_makes_of_it(page: str) -> None:
    written = (REFERENCE / page).read_text(encoding="utf-8")
    assert written == MADE["PAGES"][page](), f"run .venv/bin/python docs/reference/generate.py to renew {page}"


@pytest.mark.parametrize("model", [Tokens, App, DifyTools, Limits, Traces])
def test_every_key_has_a_sentence(model: Any) -> None:
    assert [name for name, key in model.model_fields.items() if not key.description] == []


def test_every_key_at_the_top_has_a_sentence() -> None:
    sections = {"tokens", "apps", "dify_tools", "limits", "traces", "page"}
    assert [name for name, key in Config.model_fields.items() if not key.description and name not in sections] == []


@pytest.mark.parametrize("name", ["init", "doctor", "serve", "status", "runs", "tail", "tickets", "approve", "deny"])
def test_every_option_has_a_sentence(name: str) -> None:
    options = [each for each in main.commands[name].params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []
