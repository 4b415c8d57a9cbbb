"""What is found out about upstreams that imitate the vendors' quirks, and what comes of it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.scripted.vendors import QUIRKS
from provider.credentials import Credentials
from provider.models.validation import upstream_problem
from provider.modes.automatic import Automatic
from provider.modes.choice import mode_for
from provider.modes.openclaw_text import OpenclawText
from provider.settings import NodeSettings
from provider.upstream import capabilities as known
from provider.upstream import lessons
from provider.upstream.capabilities import Findings, capabilities
from provider.upstream.probe import find_out
from tests.provider.byte_server import answering, response
from tests.provider.conftest import KEY, Dify

ALL = Findings(tools=True, streamed_tools=True, tool_choice=True, structured_output=True, vision=True)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    known.forget()
    lessons.forget()
    yield
    known.forget()
    lessons.forget()


def form_for(upstream: dict[str, Any], vendor: str, **more: str) -> Credentials:
    return Credentials.read(
        {
            "upstream_base_url": upstream["base_url"],
            "upstream_api_key": KEY,
            "upstream_model": f"scripted-like-{vendor}",
        }
        | more
    )


def found(**fields: bool | None) -> Findings:
    return Findings(**{**vars_of(ALL), **fields})


def vars_of(findings: Findings) -> dict[str, Any]:
    return {name: getattr(findings, name) for name in Findings.__slots__}


EXPECTED = {
    "openai-reasoning": found(),
    "azure": found(),
    "gemini": found(),
    "minimax": found(),
    "mistral": found(),
    "groq": found(),
    "openrouter": found(),
    "together": found(),
    "vllm": found(),
    "sglang": found(),
    "llama-cpp": found(),
    "copilot": found(),
    "deepseek": found(structured_output=False, vision=False),
    "siliconflow": found(tool_choice=False, structured_output=False, vision=False),
    "dashscope": found(structured_output=False),
    "moonshot": found(tool_choice=False, structured_output=False),
    "zhipu": found(tool_choice=False, structured_output=False, vision=False),
    "ollama-without-tools": found(tools=False, streamed_tools=False, tool_choice=False, vision=None),
    "ollama": found(tool_choice=False, vision=False),
    "vllm-without-parser": found(tools=False, streamed_tools=False, vision=False),
    "lm-studio": found(tool_choice=False),
    "openrouter-without-tools": found(tools=False, streamed_tools=False, tool_choice=False, vision=False),
    "litellm": found(),
    "before-usage": found(),
    "without-usage": found(),
    "whole-calls": found(tools=True, streamed_tools=False, tool_choice=False),
    "without-streams": found(),
}


def test_every_imitated_vendor_is_probed() -> None:
    assert EXPECTED.keys() == QUIRKS.keys()


@pytest.mark.parametrize("vendor", EXPECTED)
def test_the_probe_finds_the_right_abilities(upstream: dict[str, Any], vendor: str) -> None:
    assert find_out(form_for(upstream, vendor), "main") == EXPECTED[vendor]


@pytest.mark.parametrize(("vendor", "counted"), [("ollama", True), ("before-usage", False), ("without-usage", False)])
def test_validation_finds_out_whether_tokens_are_counted_in_the_stream(
    upstream: dict[str, Any], vendor: str, counted: bool
) -> None:
    form = form_for(upstream, vendor)
    assert upstream_problem(form, "main") is None
    findings = known.findings_about(form, "main")
    assert findings
    assert findings.usage is counted


def test_a_model_that_reasons_is_known_as_one(upstream: dict[str, Any]) -> None:
    form = form_for(upstream, "", upstream_model="scripted-reasoning")
    assert not capabilities(form, "main").reasoning
    upstream_problem(form, "main")
    assert capabilities(form, "main").reasoning


def test_the_form_has_the_last_word_and_is_not_doubted(upstream: dict[str, Any], dify: Dify, log: Any) -> None:
    said = {
        "tool_support": "on",
        "tool_choice_support": "on",
        "structured_output_support": "off",
        "vision_support": "on",
    }
    form = form_for(upstream, "deepseek", **said)
    find_out(form, "main")
    assert log() == []
    can = capabilities(form, "main")
    assert (can.tools, can.tool_choice, can.structured_output, can.vision) == (True, True, False, True)


def test_what_nobody_has_found_out_is_what_the_vendor_s_entry_expects() -> None:
    form = Credentials.read({"upstream_base_url": "https://api.deepseek.com/v1", "upstream_model": "x"})
    can = capabilities(form, "main")
    assert (can.native_tools, can.vision, can.structured_output) == (True, False, False)


@pytest.mark.parametrize(
    ("vendor", "support", "mode"),
    [
        ("ollama-without-tools", "auto", OpenclawText),
        ("ollama", "auto", Automatic),
        ("ollama", "in_text", OpenclawText),
        ("ollama-without-tools", "on", Automatic),
    ],
)
def test_a_model_without_tools_gets_them_as_text_from_the_start(
    upstream: dict[str, Any], vendor: str, support: str, mode: type
) -> None:
    form = form_for(upstream, vendor, tool_support=support)
    find_out(form, "main")
    assert isinstance(mode_for(NodeSettings(), form, "main", capabilities(form, "main")), mode)
    assert capabilities(form, "main").tools, "Dify may still offer it tools"


def test_a_probe_has_an_end(upstream: dict[str, Any]) -> None:
    """An upstream that takes the questions and never answers keeps nobody waiting."""
    with answering([response(b"", length=10)] * 4) as url:
        form = Credentials.read({"upstream_base_url": url, "upstream_model": "m"})
        began = time.monotonic()
        assert find_out(form, "main", seconds=2) == Findings()
        assert time.monotonic() - began < 30
    assert known.findings_about(form, "main") is None, "it is asked again next time"


# What Dify sees of it


def schema(dify: Dify, model: str = "main", **credentials: str) -> dict[str, Any]:
    dify.credentials |= credentials
    [answer] = dify.ask("get_ai_model_schemas", model=model)
    return answer["model_schema"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("vendor", "features"),
    [
        ("openai-reasoning", {"multi-tool-call", "stream-tool-call", "vision", "structured-output"}),
        ("deepseek", {"multi-tool-call", "stream-tool-call"}),
        ("ollama", {"multi-tool-call", "stream-tool-call", "structured-output"}),
    ],
)
def test_the_schema_has_the_features_that_were_found(dify: Dify, vendor: str, features: set[str]) -> None:
    assert set(schema(dify, upstream_model=f"scripted-like-{vendor}")["features"]) == features


def test_a_schema_is_asked_for_once_and_an_invocation_never_waits_for_it(dify: Dify, log: Any) -> None:
    dify.credentials["upstream_model"] = "scripted-like-litellm"
    dify.invoke("!say x")
    assert len(log()) == 1
    schema(dify)
    probed = len(log())
    assert probed > 3
    schema(dify)
    assert len(log()) == probed


def test_switches_become_features_and_parameters(dify: Dify) -> None:
    told = schema(
        dify,
        model="typed",
        upstream_model="scripted",
        audio_support="on",
        video_support="on",
        document_support="on",
        tool_support="off",
        vision_support="off",
        structured_output_support="on",
        reasoning_support="none",
        max_output_tokens="2048",
        context_size="32000",
        input_price="0.5",
        output_price="2",
        price_currency="CNY",
    )
    assert set(told["features"]) == {"audio", "video", "document", "structured-output"}
    rules = {rule["name"]: rule for rule in told["parameter_rules"]}
    assert not rules.keys() & {"thinking", "reasoning_effort"}
    assert (rules["max_tokens"]["max"], rules["max_tokens"]["default"]) == (2048, 2048)
    assert told["model_properties"] == {"mode": "chat", "context_size": 32000}
    assert {name: told["pricing"][name] for name in ("input", "output", "currency")} == {
        "input": "0.5",
        "output": "2",
        "currency": "CNY",
    }
    assert told["model"] == "typed"


def test_a_run_s_price_is_counted(dify: Dify) -> None:
    dify.credentials |= {"input_price": "1000", "output_price": "2000", "price_currency": "EUR"}
    usage = dify.invoke("!say Hello\n!usage 10 20").last["usage"]
    assert float(usage["total_price"]) == pytest.approx(0.05)
    assert usage["currency"] == "EUR"
