"""A decorated function is a tool: its schema follows from its hints, its errors are results."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.python import load
from executor.toolbox import LeasedCall, ToolboxError
from tests.bridge.executors import notes
from tools.results import ToolResult

TOOLS = load(["tests.bridge.executors.notes"])


def run(name: str, **arguments: Any) -> ToolResult:
    return TOOLS.run(LeasedCall("lease", "call1", name, json.dumps(arguments), "run"))


def test_the_definition_says_what_the_function_says() -> None:
    found = {each["function"]["name"]: each for each in TOOLS.definitions()}
    assert list(found) == ["fail", "forecast", "note", "picture", "quiet", "shout"]
    shout = found["shout"]["function"]
    assert shout["description"] == "Say it louder."
    assert shout["parameters"]["required"] == ["text"]
    assert shout["parameters"]["properties"]["times"]["type"] == "integer"
    assert shout["parameters"]["properties"]["times"]["description"] == "how often"
    assert found["note"]["function"]["parameters"]["properties"]["path"]["description"] == "where to"
    assert found["note"]["function"]["description"] == "Write a note."
    assert (found["shout"]["read_only"], found["note"]["read_only"]) == (True, False)


def test_a_call_runs_the_function() -> None:
    assert run("shout", text="hey", times=2).output == "HEY HEY"
    assert json.loads(run("forecast", place={"city": "Rome"}).output)["city"] == "Rome"
    assert run("quiet").output == "(no output)"
    assert run("picture").images


def test_the_function_stays_a_function() -> None:
    assert notes.shout("hey") == "HEY"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("shout", {}, "text: Missing required argument"),
        ("shout", {"text": "a", "times": "many"}, "times: Input should be a valid integer"),
        ("shout", {"text": "a", "loud": True}, "loud: Unexpected keyword argument"),
        ("fail", {"how": "badly"}, "ValueError: badly"),
        ("other", {}, "there is no tool other"),
    ],
)
def test_what_goes_wrong_is_a_result(name: str, arguments: dict[str, Any], told: str) -> None:
    result = run(name, **arguments)
    assert result.is_error
    assert told in result.output


def test_a_module_that_cannot_be_used_says_so() -> None:
    with pytest.raises(ToolboxError, match="cannot be imported"):
        load(["no_such_module"])
    with pytest.raises(ToolboxError, match="decorate a function"):
        load(["json"])


SOURCE = "from clawback import tool\n\n@tool\ndef lamp(on: bool) -> str:\n    return str(on)\n"


def test_a_module_of_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_this_folder.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ToolboxError, match="of_this_folder cannot be imported"):
        load(["of_this_folder"])
    monkeypatch.chdir(tmp_path)
    assert [each["function"]["name"] for each in load(["of_this_folder"]).definitions()] == ["lamp"]


@pytest.mark.parametrize("name", ["tools", "bridge", "json"])
def test_it_may_have_the_name_of_something_that_runs_here(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sys.modules.get(name)
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("from .lamps import lamp\n" if name == "bridge" else SOURCE)
    (folder / "lamps.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert [each["function"]["name"] for each in load([name]).definitions()] == ["lamp"]
    assert sys.modules.get(name) is before
