"""The reference says what the code says."""

import json
import runpy
from pathlib import Path
from typing import Any

import click
import pytest

from bridge.api.openapi.sentences import sentences
from bridge.cli import main
from bridge.config import App, Config, DifyTools, Limits, Plugin, Tokens, Traces

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
MADE: dict[str, Any] = runpy.run_path(str(REFERENCE / "generate.py"))


@pytest.mark.parametrize("page", MADE["PAGES"])
def test_a_page_is_what_the_code_makes_of_it(page: str) -> None:
    written = (REFERENCE / page).read_text(encoding="utf-8")
    assert written == MADE["PAGES"][page](), f"run .venv/bin/python docs/reference/generate.py to renew {page}"


def test_what_a_client_does_was_seen_by_a_test_that_is_there() -> None:
    seen = json.loads((ROOT / "tests/agents/clients.json").read_text())
    page = runpy.run_path(str(REFERENCE / "clients_page.py"))
    assert set(seen) == set(page["CLIENTS"])
    for client, rows in seen.items():
        for row in rows.values():
            assert set(row) <= set(page["COLUMNS"])
            for entry in row.values():
                path, _, name = entry["test"].partition("::")
                test = (ROOT / path).read_text().partition(f"def {name}(")[2].partition("\ndef ")[0]
                assert "shows(" in test, f"{entry['test']} does not show what {client} does"


@pytest.mark.parametrize("model", [Tokens, Plugin, App, DifyTools, Limits, Traces])
def test_every_key_has_a_sentence(model: Any) -> None:
    assert set(model.model_fields) - set(sentences(model)) == set()


def test_every_key_at_the_top_has_a_sentence() -> None:
    sections = {"tokens", "plugins", "apps", "dify_tools", "limits", "traces", "page"}
    assert set(Config.model_fields) - set(sentences(Config)) == sections


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_option_has_a_sentence(name: str) -> None:
    options = [each for each in main.get_command(click.Context(main), name).params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []
