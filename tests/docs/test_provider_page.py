"""The page of the provider leaves out nothing: neither of its own nor of the official plugin's."""

import runpy
from pathlib import Path
from typing import Any

from provider.credentials import Credentials
from provider.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE: dict[str, Any] = runpy.run_path(str(ROOT / "docs/reference/provider_page.py"))
OURS = {*Credentials.model_fields, *NodeSettings.model_fields}
CALLBACKS = {
    "external_tool_callback_enabled",
    "tool_call_mode",
    "text_call_promotion",
    "allowed_tools",
    "max_tool_call_rounds",
    "callback_wait_seconds",
    "on_callback_timeout",
    "stop_after_tool_calls",
    "on_run_not_found",
    "callback_key",
    "callback_label",
    "parameters_from",
}

# What version 0.0.63 of langgenius/openai_api_compatible shows for an LLM.
FIELDS = [
    "model",
    "display_name",
    "api_key",
    "endpoint_url",
    "endpoint_model_name",
    "mode",
    "context_size",
    "max_tokens_to_sample",
    "agent_thought_support",
    "web_search_support",
    "compatibility_mode",
    "token_param_name",
    "user_identity_support",
    "stream_include_usage",
    "function_calling_type",
    "stream_function_calling",
    "vision_support",
    "video_support",
    "audio_support",
    "document_support",
    "structured_output_support",
    "stream_mode_auth",
    "stream_mode_delimiter",
]
PARAMETERS = [
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "max_tokens",
    "response_format",
    "json_schema",
    "enable_thinking",
    "reasoning_format",
    "reasoning_effort",
    "web_search",
]


def rows() -> list[tuple[str, tuple[str, ...], str]]:
    return [*PAGE["OFFICIAL_FIELDS"], *PAGE["OFFICIAL_PARAMETERS"], *PAGE["OFFICIAL_HIDDEN"]]


def test_every_row_of_the_official_plugin_s_is_there() -> None:
    assert [row[0] for row in PAGE["OFFICIAL_FIELDS"]] == FIELDS
    assert [row[0] for row in PAGE["OFFICIAL_PARAMETERS"]] == PARAMETERS


def test_each_is_matched_by_something_that_exists_or_has_a_reason() -> None:
    for theirs, ours, differs in rows():
        assert set(ours) <= OURS, theirs
        assert differs.startswith("Not needed") is (not ours), theirs


def test_what_is_here_alone_is_named() -> None:
    matched = {name for _, ours, _ in rows() for name in ours}
    assert OURS - matched - CALLBACKS == set(PAGE["NO_COUNTERPART"])
