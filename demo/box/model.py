"""The model that graphon's nodes see: every call becomes a request to the plugin process.

It replaces graphon's SlimLLM, and sends what Dify's core/plugin/impl/model_runtime.py sends.
"""

import json
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NoReturn, cast, overload, override

from graphon.model_runtime.entities.llm_entities import (
    LLMResult,
    LLMResultChunk,
    LLMResultChunkWithStructuredOutput,
    LLMResultWithStructuredOutput,
)
from graphon.model_runtime.entities.message_entities import PromptMessage, PromptMessageTool
from graphon.model_runtime.entities.model_entities import AIModelEntity
from graphon.model_runtime.model_providers.base.large_language_model import normalize_non_stream_runtime_result
from graphon.model_runtime.utils.encoders import jsonable_encoder
from graphon.nodes.llm.runtime_protocols import LLMProtocol

from demo.box.credentials import Credentials
from demo.box.errors import PLUGIN_INVOKE_ERROR, DaemonError, as_node_error
from demo.box.plugin_daemon import PluginDaemon
from demo.box.plugin_folder import PluginFolder
from demo.box.plugin_process import Packet, PluginProcess


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf models are called: what Dify tells a plugin about it."""

    end_user_id: str
    """Empty for chat and agent apps: Dify sets up their models before it knows for whom."""
    app_id: str | None


class ModelCatalogue:
    """Makes models of one plugin, and keeps their schemas as Dify's cache does."""

    def __init__(
        self,
        folder: PluginFolder,
        process: PluginProcess | PluginDaemon,
        credentials: Credentials,
        *,
        raw_parameters: bool,
    ) -> None:
        self.folder = folder
        self.process = process
        self._credentials = credentials
        self._raw_parameters = raw_parameters
        self._schemas: dict[str, AIModelEntity] = {}
        self._lock = threading.Lock()

    def model(self, provider: str, name: str, completion_params: Mapping[str, Any], caller: Caller) -> "PluginModel":
        """A node's model. Raises ValueError when the provider is unknown or has no credentials."""
        return PluginModel(
            catalogue=self,
            provider=provider,
            name=name,
            credentials=self._credentials.of(provider, name),
            completion_params=completion_params,
            caller=caller,
            raw_parameters=self._raw_parameters,
        )

    def schema(self, model: "PluginModel") -> AIModelEntity:
        """The model's schema, asked of the plugin once for each set of credentials."""
        key = json.dumps(model.address(), sort_keys=True)
        with self._lock:
            if key not in self._schemas:
                self._schemas[key] = self._ask_schema(model)
            return self._schemas[key]

    def _ask_schema(self, model: "PluginModel") -> AIModelEntity:
        with closing(model.request("get_ai_model_schemas", {})) as answers:
            schema = next(answers, {}).get("model_schema")
        if schema is None:
            raise ValueError(f"Model schema not found for model {model.model_name}")
        return AIModelEntity.model_validate(schema)


class PluginModel(LLMProtocol):
    """One node's model in one run."""

    @override
    def __init__(
        self,
        *,
        catalogue: ModelCatalogue,
        provider: str,
        name: str,
        credentials: Mapping[str, Any],
        completion_params: Mapping[str, Any],
        caller: Caller,
        raw_parameters: bool,
    ) -> None:
        self._catalogue = catalogue
        self._provider = provider
        self._provider_in_plugin = catalogue.folder.provider_name(provider)
        self._name = name
        self._credentials = dict(credentials)
        self._caller = caller
        self._raw_parameters = raw_parameters
        self._parameters, self._stop = _split_stop(completion_params)

    @property
    @override
    def provider(self) -> str:
        return self._provider

    @property
    @override
    def model_name(self) -> str:
        return self._name

    @property
    @override
    def parameters(self) -> Mapping[str, Any]:
        return dict(self._parameters)

    @parameters.setter
    @override
    def parameters(self, value: Mapping[str, Any]) -> None:
        # graphon's nodes set their parameters only to put resolved variables in, which Dify did not do before 1.14.
        if not self._raw_parameters:
            self._parameters = dict(value)

    @property
    @override
    def stop(self) -> Sequence[str] | None:
        return list(self._stop)

    @override
    def get_model_schema(self) -> AIModelEntity:
        return self._catalogue.schema(self)

    @override
    def get_llm_num_tokens(self, prompt_messages: Sequence[PromptMessage]) -> int:
        # Dify asks the plugin only with PLUGIN_BASED_TOKEN_COUNTING_ENABLED, off by default: no text has tokens.
        return 0

    @overload
    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: Literal[False],
    ) -> LLMResult: ...

    @overload
    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: Literal[True],
    ) -> Generator[LLMResultChunk, None, None]: ...

    @override
    def invoke_llm(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        model_parameters: Mapping[str, Any],
        tools: Sequence[PromptMessageTool] | None,
        stop: Sequence[str] | None,
        stream: bool,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        body = {
            "prompt_messages": jsonable_encoder(list(prompt_messages)),
            "model_parameters": dict(model_parameters),
            "tools": jsonable_encoder(list(tools)) if tools else None,
            "stop": list(stop) if stop else None,
            "stream": stream,
        }
        chunks = self._chunks(body)
        if stream:
            return chunks
        return normalize_non_stream_runtime_result(model=self._name, prompt_messages=prompt_messages, result=chunks)

    @overload
    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: Literal[False],
    ) -> LLMResultWithStructuredOutput: ...

    @overload
    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: Literal[True],
    ) -> Generator[LLMResultChunkWithStructuredOutput, None, None]: ...

    @override
    def invoke_llm_with_structured_output(
        self,
        *,
        prompt_messages: Sequence[PromptMessage],
        json_schema: Mapping[str, Any],
        model_parameters: Mapping[str, Any],
        stop: Sequence[str] | None,
        stream: bool,
    ) -> NoReturn:
        # Differs from Dify: structured output is Dify's own prompt work around the model, and the box leaves it out.
        raise ValueError("Dify in a box has no structured output: switch it off in the node")

    @override
    def is_structured_output_parse_error(self, error: Exception) -> bool:
        return False

    def address(self) -> Packet:
        """What every request says about the model."""
        return {
            "provider": self._provider_in_plugin,
            "model_type": "llm",
            "model": self._name,
            "credentials": self._credentials,
        }

    def request(self, action: str, body: Packet) -> Generator[Packet, None, None]:
        """The plugin's answers to one request. Raises what Dify raises in the node."""
        data = {"user_id": self._caller.end_user_id, **self.address(), **body}
        app_id = self._caller.app_id if action == "invoke_llm" else None
        try:
            yield from self._catalogue.process.invoke(action, data, app_id=app_id)
        except DaemonError as error:
            raise as_node_error(error, self._catalogue.folder.labels[self._provider_in_plugin]) from error

    def _chunks(self, body: Packet) -> Generator[LLMResultChunk, None, None]:
        for chunk in self._checked(self.request("invoke_llm", body)):
            delta = {**chunk["delta"], "usage": _with_plain_numbers(chunk["delta"].get("usage"))}
            yield LLMResultChunk.model_validate({**chunk, "delta": delta, "prompt_messages": []})

    def _checked(self, chunks: Iterator[Packet]) -> Iterator[Packet]:
        for chunk in chunks:
            if chunk["delta"]["message"].get("content") is None:
                error = DaemonError(PLUGIN_INVOKE_ERROR, json.dumps(_CONTENT_REQUIRED))
                raise as_node_error(error, self._catalogue.folder.labels[self._provider_in_plugin])
            yield chunk


def _with_plain_numbers(usage: Packet | None) -> Packet | None:
    """Prices as the daemon writes them: plainly, so that Python's `0E-7` is a 0."""
    if usage is None:
        return None
    prices = {name: str(value) for name, value in usage.items() if "price" in name}
    return usage | {name: f"{Decimal(value).normalize():f}" for name, value in prices.items()}


# The daemon parses every chunk and lets none without content pass: pkg/entities/model_entities/llm.go.
_CONTENT_REQUIRED = {
    "error_type": "unmarshal_error",
    "message": "unmarshal json failed: content field is required",
}


def _split_stop(completion_params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Completion parameters and stop words apart, as in core/app/llm/model_access.py."""
    parameters = dict(completion_params)
    stop = parameters.pop("stop", [])
    usable = isinstance(stop, list) and all(isinstance(word, str) for word in stop)
    return parameters, cast("list[str]", stop) if usable else []
