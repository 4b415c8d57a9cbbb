"""The endpoint of Clawback Tools, as the bridge hears it: what ran, what did not, and what nobody knows."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from bridge.config import ConfigError, DifyTools, parse
from bridge.dify.console import ConsoleProblem, providers_in, schemas_of
from bridge.dify.tools import PickedTool, TookTooLong, ToolsEndpoint, ToolsProblem, Unanswered, picked
from tests.levels import starts
from tools.definitions import Function, ToolDefinition

MAIL = PickedTool("builtin", "mail", "send", ToolDefinition(function=Function(name="send")))


@dataclass
class Server:
    """Answers every request the same, or hangs up."""

    url: str = ""
    status: int | None = 200
    body: bytes = b"{}"
    heard: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] | None = None

    def answers(self, status: int | None, body: object = None) -> ToolsEndpoint:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()
        return ToolsEndpoint(DifyTools.model_validate({"url": self.url, "token": "secret-token"}))


@pytest.fixture
@starts("parts")
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            made.heard.append({"key": body.get("key")})
            made.parameters = body.get("parameters")
            if made.status is None:
                self.connection.close()
                return
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        made.url = f"http://127.0.0.1:{http.server_port}/e/tools"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield made
        http.shutdown()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (None, None),
        (500, b"Internal Server Error: x"),
        (500, {"code": -500, "message": "killed by timeout"}),
        (502, b"<html>bad gateway</html>"),
        (504, b""),
        (200, b'{"output": "cut o'),
        (200, {}),
    ],
)
def test_without_an_answer_nobody_says_whether_it_ran(server: Server, status: int | None, body: object) -> None:
    with pytest.raises(Unanswered):
        server.answers(status, body).call(MAIL, "{}", "k")


def test_dify_s_limit_of_a_whole_call_is_named(server: Server) -> None:
    with pytest.raises(TookTooLong, match="PLUGIN_MAX_EXECUTION_TIMEOUT, 600 seconds"):
        server.answers(500, {"code": -500, "message": "killed by timeout"}).call(MAIL, "{}", "k")


@pytest.mark.parametrize(
    ("status", "type_"), [(401, "unauthorized"), (403, "not_picked"), (400, "invalid_request"), (409, "key_reused")]
)
def test_what_was_refused_was_not_run(server: Server, status: int, type_: str) -> None:
    outcome = server.answers(status, {"error": {"type": type_, "message": "no"}}).call(MAIL, "{}", "k")
    assert outcome.is_error
    assert "Nothing was run" in outcome.output
    assert "secret-token" not in outcome.output


def test_an_endpoint_that_is_gone_ran_nothing(server: Server) -> None:
    outcome = server.answers(404, {"code": -400, "message": "endpoint not found"}).call(MAIL, "{}", "k")
    assert "no endpoint of Clawback Tools" in outcome.output
    nobody = ToolsEndpoint(DifyTools.model_validate({"url": "http://127.0.0.1:9", "token": "t"}))
    assert "Nothing was run" in nobody.call(MAIL, "{}", "k").output


def test_what_no_body_can_hold_is_not_sent(server: Server) -> None:
    outcome = server.answers(200, {"output": "sent"}).call(MAIL, '{"n": [1e999]}', "k")
    assert (outcome.is_error, server.heard) == (True, [])
    assert "larger than a number can be. Nothing was run" in outcome.output


def test_half_a_character_is_sent_and_answered_as_its_sign(server: Server) -> None:
    outcome = server.answers(200, b'{"output": "\\ud83d"}').call(MAIL, '{"text": "cut \\ud83d"}', "k")
    assert (outcome.output, server.parameters) == ("\ufffd", {"text": "cut \ufffd"})


def test_a_tool_s_failure_is_told_in_its_words(server: Server) -> None:
    outcome = server.answers(200, {"error": {"type": "tool_failed", "message": "no paper"}}).call(MAIL, "{}", "k")
    assert (outcome.output, outcome.is_error) == ("Error: no paper", True)
    late = server.answers(200, {"error": {"type": "timeout", "message": "silent"}}).call(MAIL, "{}", "k")
    assert "may have run" in late.output
    assert server.heard == [{"key": "k"}] * 2


def test_a_list_that_is_none_is_a_problem(server: Server) -> None:
    with pytest.raises(ToolsProblem, match="refused the token"):
        server.answers(401, {"error": {"type": "unauthorized", "message": "no"}}).tools()
    message = '{"message":"plugin installation not found","error_type":"PluginDaemonBadRequestError","args":null}'
    with pytest.raises(ToolsProblem, match="is not installed"):
        server.answers(404, {"code": -400, "message": message}).tools()
    with pytest.raises(ToolsProblem, match="200"):
        server.answers(200, b"hello").tools()


def test_each_tool_has_a_name_of_its_own_and_text_parameters() -> None:
    entry = {"type": "api", "provider_name": "p/q/first", "tool_name": "find it", "tool_description": "finds"}
    open_and_fixed = {"where": {"auto": 1, "value": None}, "style": {"auto": 0, "value": "ISO"}}
    tools = picked([entry | {"parameters": open_and_fixed}, entry | {"provider_name": "x"}, entry, {}])
    assert [tool.definition.name for tool in tools] == ["find_it", "x_find_it", "first_find_it"]
    assert tools[0].definition.function.parameters == {"type": "object", "properties": {"where": {"type": "string"}}}
    assert tools[0].definition.function.description == "finds"


def test_what_the_console_says_gives_a_model_types_and_descriptions() -> None:
    parameters = [
        {"name": "text", "type": "string", "required": True, "form": "llm", "llm_description": "what to look for"},
        {"name": "most", "type": "number", "form": "llm", "min": 1, "max": 9, "default": 3},
        {"name": "where", "type": "select", "form": "llm", "options": [{"value": "web"}, {"value": "news"}]},
        {"name": "deep", "type": "boolean", "form": "llm", "human_description": {"zh_Hans": "深", "en_US": "deeply"}},
        {"name": "filter", "type": "object", "form": "llm", "input_schema": {"type": "object", "required": ["a"]}},
        {"name": "fixed", "type": "string", "form": "llm", "required": True},
        {"name": "key", "type": "secret-input", "form": "form", "required": True},
    ]
    tool = {"name": "find", "description": {"en_US": "Finds."}, "parameters": parameters}
    schemas = schemas_of(providers_in({"builtin": [{"id": "a/b/c", "name": "c", "type": "builtin", "tools": [tool]}]}))
    entry = {"type": "builtin", "provider_name": "a/b/c", "tool_name": "find", "parameters": {"fixed": {"auto": 0}}}
    function = picked([entry], schemas)[0].definition.function
    assert function.description == "Finds."
    assert function.parameters == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "what to look for"},
            "most": {"type": "number", "minimum": 1, "maximum": 9, "default": 3},
            "where": {"type": "string", "enum": ["web", "news"]},
            "deep": {"type": "boolean", "description": "deeply"},
            "filter": {"type": "object", "required": ["a"]},
        },
        "required": ["text"],
    }


@pytest.mark.parametrize("saved", [[1], {"builtin": "no"}, {"other": []}, "text", [{"name": "an app"}]])
def test_what_is_no_answer_of_the_console_is_refused(saved: object) -> None:
    with pytest.raises(ConsoleProblem, match="no tools of Dify"):
        providers_in(saved)


def test_the_configuration_needs_a_token_and_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match="token or token_env is missing"):
        parse({"dify_tools": [{"url": "http://dify/e/x"}]})
    with pytest.raises(ConfigError, match="two of dify_tools"):
        parse({"dify_tools": [{"url": "http://dify/e/x", "token": "t"}] * 2})
    settings = DifyTools.model_validate({"url": "http://d", "token": "t", "retry": {"*": "safe", "send": "never"}})
    assert (settings.runs_once("send"), settings.runs_once("look")) == (True, False)
