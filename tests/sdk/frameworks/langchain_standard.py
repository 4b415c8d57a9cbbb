"""LangChain's standard tests for chat models, with `ChatOpenAI` pointed at the bridge.

It runs in the environment of `scripts/setup sdk`: tests/sdk/test_frameworks.py starts it and reads its report.
"""

import os
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestBridge(ChatModelIntegrationTests):
    """The bridge as a chat model."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "minimal",
            "base_url": os.environ["CLAWBACK_BASE_URL"],
            "api_key": os.environ["CLAWBACK_API_KEY"],
            "max_retries": 0,
            "stream_usage": True,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "router"
