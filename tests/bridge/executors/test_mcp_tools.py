"""The tools of a real MCP server, mcp-server-time from PyPI."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from executor.mcp import McpTools
from executor.toolbox import LeasedCall, ToolboxError
from tests.levels import starts

SERVER = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]


@pytest.fixture(scope="module")
@starts("parts")
def server() -> Iterator[McpTools]:
    toolbox = McpTools(SERVER, prefix="time.")
    yield toolbox
    toolbox.close()


def call(name: str, **arguments: Any) -> LeasedCall:
    return LeasedCall("lease", "call1", name, json.dumps(arguments), "run")


def test_its_tools_are_offered_under_names_that_every_model_takes(server: McpTools) -> None:
    found = {each["function"]["name"]: each for each in server.definitions()}
    assert sorted(found) == ["time_convert_time", "time_get_current_time"]
    assert found["time_get_current_time"]["function"]["parameters"]["required"] == ["timezone"]
    assert found["time_get_current_time"]["read_only"]


def test_a_call_is_answered(server: McpTools) -> None:
    result = server.run(call("time_get_current_time", timezone="Asia/Tokyo"))
    assert not result.is_error
    assert json.loads(result.output)["timezone"] == "Asia/Tokyo"


def test_what_the_server_refuses_is_an_error_result(server: McpTools) -> None:
    assert server.run(call("time_get_current_time", timezone="Mars/Phobos")).is_error
    assert server.run(call("time_get_current_time")).is_error
    assert server.run(call("other")).is_error


@pytest.mark.parts
@pytest.mark.parametrize("command", [["/bin/false"], ["/no/such/command"], ["http://127.0.0.1:9/mcp"]])
def test_a_server_that_is_not_there_is_named(command: list[str]) -> None:
    with pytest.raises(ToolboxError, match=command[0]):
        McpTools(command)
