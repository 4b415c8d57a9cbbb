"""Which refusals mean that a model knows no tools, and which only mention them."""

import json
import re

import pytest

from demo.scripted.vendors import QUIRKS
from provider.modes import automatic
from provider.modes.automatic import Automatic
from provider.modes.openclaw_text import OpenclawText
from provider.upstream.failures import from_response
from provider.upstream.wordings import NO_TOOLS, tells_no_tools
from tests.provider.play import Play, attached

AS_SAID = {
    "Ollama, DeepSeek, Together": "registry.ollama.ai/library/gemma:2b does not support tools",
    "SiliconFlow, Groq, Perplexity": "Function call is not supported for this model.",
    "OpenRouter": "No endpoints found that support tool use.",
    "vLLM": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    "llama.cpp": "tools param requires --jinja flag",
    "LiteLLM": "litellm.UnsupportedParamsError: ollama does not support parameters: ['tools', 'tool_choice']",
    "OpenAI's older models, gateways": "Unrecognized request argument supplied: tools",
    "servers that check their fields": "body -> tools: Extra inputs are not permitted",
    "others": "该模型不支持工具调用",
}


@pytest.mark.parametrize("server", NO_TOOLS)
def test_every_server_s_way_to_say_it(server: str) -> None:
    example = AS_SAID[server]
    assert re.search(NO_TOOLS[server], example, re.IGNORECASE), "the row recognises its own example"
    assert tells_no_tools(400, example)
    assert not tells_no_tools(429, example)


@pytest.mark.parametrize(
    "said",
    [
        "The model `mixtral` does not support tool calling",
        "deepseek-reasoner does not support Function Calling",
        "`tool calling` is not supported with this model",
        "tool use is not enabled for this model",
        "Unknown parameter: 'tools'.",
        "The model 'x' does not support 'tools'.",
        *(rule.words for quirks in QUIRKS.values() for rule in quirks.refuses if rule.what == "tools"),
    ],
)
def test_more_ways_to_say_it(said: str) -> None:
    assert tells_no_tools(400, said)


MENTIONS = [
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
    "Invalid schema for function 'read': schema must be a JSON Schema of 'type: \"object\"'",
    "Invalid 'tools[0].function.name': string does not match pattern",
    "tool_choice 'specified' is incompatible with thinking enabled",
    "tool_call_id call_1 not found",
    "Unsupported value: 'parallel_tool_calls' does not support false with this model.",
    "messages[3].tool_calls[0].function.arguments must be a string that holds JSON.",
    "Unknown parameter: 'messages[1].tool_calls[0].index'.",
    "at most 128 tools are supported",
    "the property maxLength is not permitted in tools[0]",
]


@pytest.mark.parametrize("said", MENTIONS)
def test_what_only_mentions_tools_is_an_error_and_changes_nothing_for_later(said: str) -> None:
    failed = from_response(400, json.dumps({"error": {"message": said}}).encode(), {})
    automatic._without_tools.clear()
    mode = Automatic("http://upstream/v1", "qwen3:8b", OpenclawText("qwen3:8b", 32_000))
    play = Play(mode=mode).start(attached(), failed)
    assert play.failure() is failed.error
    assert not automatic._without_tools
