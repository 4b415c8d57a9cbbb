"""Every field of the forms and every parameter of a node does what it says: the real plugin process, real servers."""

import json
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.provider.byte_server import answering, as_socks, over_tls, response
from tests.provider.conftest import Dify, Told

OWN = {"name": "lookup", "description": "Looks up.", "parameters": {"type": "object", "properties": {}}}
HELLO = response(
    b'data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', "text/event-stream"
)


@dataclass
class Node:
    """A node whose request can be looked at."""

    dify: Dify
    log: Callable[[], list[dict[str, Any]]]

    def sends(self, credentials: dict[str, str] | None = None, **parameters: Any) -> dict[str, Any]:
        """The request that the upstream gets of a node with these parameters; it may refuse it."""
        self.dify.credentials |= credentials or {}
        data = {name: parameters.pop(name) for name in ("tools", "stop", "user_id") if name in parameters}
        self.dify.invoke(parameters.pop("prompt", "!say x"), model_parameters=parameters, **data)
        request: dict[str, Any] = self.log()[-1]["request"]
        return request


@pytest.fixture
def node(dify: Dify, log: Callable[[], list[dict[str, Any]]]) -> Node:
    return Node(dify, log)


# Parameters


SAMPLING = {
    "temperature": 0.4,
    "top_p": 0.9,
    "top_k": 20,
    "min_p": 0.05,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "seed": 7,
}


def test_how_words_are_chosen(node: Node) -> None:
    sent = node.sends({"upstream_model": "scripted-like-vllm-without-parser"}, **SAMPLING)
    assert {name: sent[name] for name in SAMPLING} == SAMPLING


def test_what_is_not_set_is_not_sent(node: Node) -> None:
    assert set(node.sends()) == {"model", "messages", "stream", "stream_options", "user"}


def test_stop_words(node: Node) -> None:
    assert node.sends(stop=["END", "Human:"])["stop"] == ["END", "Human:"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", None),
        ("none", "none"),
        ("required", "required"),
        ("lookup", {"type": "function", "function": {"name": "lookup"}}),
    ],
)
def test_tool_choice(node: Node, choice: str, sent: Any) -> None:
    request = node.sends(tools=[OWN], tool_choice=choice, prompt="Hello.")
    assert request.get("tool_choice") == sent
    assert [tool["function"]["name"] for tool in request["tools"]] == ["lookup"]


@pytest.mark.parametrize("parallel", [True, False])
def test_parallel_tool_calls(node: Node, parallel: bool) -> None:
    assert node.sends(tools=[OWN], parallel_tool_calls=parallel)["parallel_tool_calls"] is parallel
    assert "parallel_tool_calls" not in node.sends(parallel_tool_calls=parallel), "it makes no sense without tools"


def test_structured_output_as_dify_asks_for_it(node: Node) -> None:
    """Dify puts the schema and its name into the parameter where the model declares the feature."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    wanted = json.dumps({"schema": schema, "name": "llm_response"})
    sent = node.sends(response_format="json_schema", json_schema=wanted)
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"schema": schema, "name": "llm_response"}}


def test_a_node_s_own_fields_go_over_those_of_the_form_and_both_over_all_others(node: Node) -> None:
    node.dify.credentials["extra_body"] = '{"seed": 1, "service_tier": "flex", "top_p": 0.1}'
    sent = node.sends(extra_body='{"service_tier": "priority", "logit_bias": {"1": 2}}', seed=9)
    assert (sent["seed"], sent["top_p"], sent["service_tier"], sent["logit_bias"]) == (1, 0.1, "priority", {"1": 2})


# Reasoning


@pytest.mark.parametrize(
    ("support", "on", "off"),
    [
        ("reasoning_effort", {}, {"reasoning_effort": "none"}),
        ("thinking", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
        ("enable_thinking", {"enable_thinking": True}, {"enable_thinking": False}),
        (
            "chat_template_kwargs",
            {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
        ("reasoning", {"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}}),
        ("none", {}, {}),
    ],
)
def test_each_dialect_of_the_thinking_switch(node: Node, support: str, on: dict[str, Any], off: dict[str, Any]) -> None:
    plain = {"model", "messages", "stream", "stream_options", "user"}
    for thinking, fields in ((True, on), (False, off)):
        sent = node.sends({"reasoning_support": support}, thinking=thinking)
        assert {name: value for name, value in sent.items() if name not in plain} == fields


@pytest.mark.parametrize(
    ("vendor", "fields"),
    [
        ("openai", {"reasoning_effort": "high"}),
        ("deepseek", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("dashscope", {"enable_thinking": True, "reasoning_effort": "high"}),
        ("vllm", {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}, "reasoning_effort": "high"}),
        ("openrouter", {"reasoning": {"effort": "high"}}),
    ],
)
def test_the_effort_in_the_vendor_s_dialect(node: Node, vendor: str, fields: dict[str, Any]) -> None:
    sent = node.sends({"upstream_vendor": vendor}, thinking=True, reasoning_effort="high")
    assert {name: sent.get(name) for name in fields} == fields


@pytest.mark.parametrize("thinking", [True, False])
def test_reasoning_is_hidden_where_it_is_switched_off(dify: Dify, thinking: bool) -> None:
    dify.credentials |= {"upstream_model": "scripted-reasoning", "reasoning_support": "reasoning_effort"}
    text = dify.invoke("!say 42", model_parameters={"thinking": thinking}).text
    assert ("<think>" in text) is thinking
    assert text.endswith("42")


# What the form says of the request


@pytest.mark.parametrize(
    ("form", "model", "name"),
    [
        ("auto", "scripted", "max_tokens"),
        ("auto", "openai/gpt-5.1-mini", "max_completion_tokens"),
        ("auto", "o3", "max_completion_tokens"),
        ("max_tokens", "o3", "max_tokens"),
        ("max_completion_tokens", "scripted", "max_completion_tokens"),
    ],
)
def test_the_name_of_the_token_limit(node: Node, form: str, model: str, name: str) -> None:
    sent = node.sends({"token_field": form, "upstream_model": model}, max_tokens=50)
    assert {key: value for key, value in sent.items() if key.startswith("max_")} == {name: 50}


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ({}, {"user": "user1"}),
        ({"send_user": "off"}, {}),
        ({"upstream_vendor": "zhipu"}, {"user_id": "user1"}),
    ],
)
def test_dify_s_user(node: Node, form: dict[str, str], sent: dict[str, str]) -> None:
    assert {name: value for name, value in node.sends(form).items() if name.startswith("user")} == sent


@pytest.mark.parametrize(
    ("streaming", "sent"),
    [
        ("auto", {"stream": True, "stream_options": {"include_usage": True}}),
        ("on", {"stream": True, "stream_options": {"include_usage": True}}),
        ("without_usage", {"stream": True}),
        ("off", {"stream": False}),
    ],
)
def test_streaming_and_the_usage_in_it(node: Node, streaming: str, sent: dict[str, Any]) -> None:
    request = node.sends({"streaming": streaming})
    assert {name: value for name, value in request.items() if name.startswith("stream")} == sent


@pytest.mark.parametrize("support", ["on", "not_streamed", "in_text"])
def test_calls_that_are_streamed_or_not_or_written_in_the_text(node: Node, support: str) -> None:
    sent = node.sends({"tool_support": support}, tools=[OWN])
    assert (sent["stream"], "tools" in sent) == (support != "not_streamed", support != "in_text")


MEDIA = [
    (
        {"type": "video", "format": "mp4", "mime_type": "video/mp4"},
        "openai",
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,aGk="}},
    ),
    (
        {"type": "audio", "format": "wav", "mime_type": "audio/wav"},
        "openai",
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ),
    (
        {"type": "audio", "format": "wav", "mime_type": "audio/wav"},
        "dashscope",
        {"type": "input_audio", "input_audio": {"data": "data:;base64,aGk=", "format": "wav"}},
    ),
    (
        {"type": "document", "format": "pdf", "mime_type": "application/pdf", "filename": "a.pdf"},
        "openai",
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ),
    (
        {"type": "document", "format": "pdf", "mime_type": "application/pdf", "url": "https://x.test/a.pdf"},
        "zhipu",
        {"type": "file_url", "file_url": {"url": "https://x.test/a.pdf"}},
    ),
]


@pytest.mark.parametrize(("part", "vendor", "sent"), MEDIA)
def test_sound_films_and_documents(node: Node, part: dict[str, str], vendor: str, sent: dict[str, Any]) -> None:
    content = [{"type": "text", "data": "!say x"}, {"base64_data": "aGk=", "url": "", "filename": ""} | part]
    request = node.sends({"upstream_vendor": vendor}, prompt=[{"role": "user", "content": content}])
    assert request["messages"][0]["content"][1] == sent


# Other servers


def asked_of(dify: Dify, url: str, **credentials: str) -> Told:
    dify.credentials |= {"upstream_base_url": url, "retries": "0"} | credentials
    return dify.invoke("Once upon a time")


def test_a_base_model_completes_the_prompt(dify: Dify) -> None:
    asked: list[bytes] = []
    answer = b'data: {"choices":[{"text":" there was","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    with answering([response(answer)], asked=asked) as url:
        told = asked_of(dify, url, completion_mode="completion")
    assert told.text == " there was"
    assert asked[0].startswith(b"POST /v1/completions ")
    body = json.loads(asked[0].partition(b"\r\n\r\n")[2])
    assert (body["prompt"], "messages" in body) == ("Once upon a time", False)


def test_a_server_s_words_are_told_without_the_secret_headers_that_they_repeat(dify: Dify) -> None:
    said = b'{"error": {"message": "bad header X-Team: blue-and-secret for me:passw0rd-of-proxy"}}'
    with answering([response(said, "application/json", "400 Bad Request")]) as url:
        told = asked_of(dify, url, extra_headers="X-Team: blue-and-secret", proxy_url="")
    assert told.error
    assert "bad header" in told.error[1]
    assert "blue-and-secret" not in told.whole_error


def test_a_server_that_takes_no_connections_is_given_up(dify: Dify) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        waiting.connect(full.getsockname())
        told = asked_of(dify, f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_seconds="0.3")
    assert told.error
    assert told.error[0] == "InvokeConnectionError"
    assert "upstream_base_url" in told.error[1]


def test_a_retry_after_is_obeyed(dify: Dify, log: Callable[[], list[dict[str, Any]]]) -> None:
    assert dify.invoke("!error 429 after 2\n!say x").text == "x"
    first, second = (entry["at"] for entry in log())
    assert second - first >= 2


def test_a_proxy_with_a_password(dify: Dify) -> None:
    asked: list[bytes] = []
    with answering([HELLO], asked=asked) as url:
        proxy = url.removesuffix("/v1").replace("http://", "http://me:passw0rd@")
        told = asked_of(dify, "http://upstream.invalid/v1", proxy_url=proxy)
    assert told.text == "Hello"
    assert asked[0].startswith(b"POST http://upstream.invalid/v1/chat/completions ")
    assert b"proxy-authorization: basic bwu6cgfzc3cwcmq=" in asked[0].lower()


def test_a_socks_proxy(dify: Dify) -> None:
    asked: list[bytes] = []
    with answering([HELLO], asked=asked, greeting=as_socks) as url:
        proxy = url.removesuffix("/v1").replace("http://", "socks5://")
        told = asked_of(dify, "http://upstream.invalid/v1", proxy_url=proxy)
    assert told.text == "Hello"
    assert b"host: upstream.invalid" in asked[0].lower()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of a server at 127.0.0.1 that vouches for itself, and its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *files, *names], check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.parametrize("pasted", [True, False])
def test_a_certificate_authority_of_one_s_own(dify: Dify, authority: Path, pasted: bool) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "certificate.pem", authority / "key.pem")
    pem = " ".join((authority / "certificate.pem").read_text().split("\n"))
    with answering([HELLO], greeting=over_tls(tls)) as url:
        told = asked_of(dify, url.replace("http://", "https://"), ca_certificate=pem if pasted else "")
    assert told.text == ("Hello" if pasted else "")
    assert bool(told.error) is not pasted
