"""The language model as Dify knows it: a thin shell around the engine."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

from dify_plugin import LargeLanguageModel, get_current_session  # type: ignore[import-untyped]
from dify_plugin.entities.model import AIModelEntity, FetchFrom, ParameterType  # type: ignore[import-untyped]
from dify_plugin.entities.model.llm import LLMResult, LLMResultChunk, LLMResultChunkDelta, LLMUsage  # type: ignore[import-untyped]
from dify_plugin.entities.model.message import AssistantPromptMessage, PromptMessage, PromptMessageTool  # type: ignore[import-untyped]
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeBadRequestError, InvokeError  # type: ignore[import-untyped]

from provider.credentials import MAIN, Credentials
from provider.engine.events import Fail, Finish, Heartbeat, Output, Say
from provider.engine.prompt import to_definitions, to_openai
from provider.engine.response import estimate_prompt
from provider.errors import Refused
from provider.models import sdk_errors
from provider.models.schema import schema_for
from provider.models.validation import problems_of
from provider.upstream.capabilities import capabilities, findings_about
from provider.upstream.probe import find_out
from tools.calls import ToolCall


class ClawbackLargeLanguageModel(LargeLanguageModel):  # type: ignore[misc]
    """Any model of an OpenAI-compatible upstream, with or without callbacks."""

    def _invoke(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        model_parameters: dict[str, Any],
        tools: list[PromptMessageTool] | None = None,
        stop: list[str] | None = None,
        stream: bool = True,
        user: str | None = None,
    ) -> LLMResult | Generator[LLMResultChunk, None, None]:
        from provider.node import NodeCall, outputs_of  # not before a plugin has started: see there

        session = get_current_session()
        call = NodeCall(
            model=model,
            messages=[message.model_dump(mode="json") for message in prompt_messages],
            parameters=model_parameters,
            tools=[tool.model_dump(mode="json") for tool in tools or []],
            stop=stop,
            stream=stream,
            user=user,
            app_id=session.app_id if session else None,
        )
        chunks = self._chunks(model, credentials, outputs_of(call, Credentials.read(credentials)))
        return chunks if stream else self._whole(model, chunks)

    def _chunks(
        self, model: str, credentials: dict[str, Any], outputs: Generator[Output]
    ) -> Generator[LLMResultChunk, None, None]:
        try:
            with closing(outputs):
                for index, output in enumerate(outputs):
                    yield self._chunk(model, credentials, index, output)
        except Exception as error:
            raise sdk_errors.typed(error) from None

    def _chunk(self, model: str, credentials: dict[str, Any], index: int, output: Output) -> LLMResultChunk:
        match output:
            case Fail(error):
                raise error
            case Finish(finish_reason, usage, calls):
                message = AssistantPromptMessage(content="", tool_calls=[_tool_call(call) for call in calls])
                counted = self._calc_response_usage(model, credentials, usage.prompt_tokens, usage.completion_tokens)
                return _chunk(model, index, message, counted, finish_reason)
            case Say(text):
                return _chunk(model, index, AssistantPromptMessage(content=text))
            case Heartbeat():
                return _chunk(model, index, AssistantPromptMessage(content=""))

    def _whole(self, model: str, chunks: Iterator[LLMResultChunk]) -> LLMResult:
        text: list[str] = []
        usage, calls = LLMUsage.empty_usage(), []
        for chunk in chunks:
            text.append(str(chunk.delta.message.content or ""))
            calls += chunk.delta.message.tool_calls
            usage = chunk.delta.usage or usage
        message = AssistantPromptMessage(content="".join(text), tool_calls=calls)
        return LLMResult(model=model, message=message, usage=usage)

    def get_num_tokens(
        self,
        model: str,
        credentials: dict[str, Any],
        prompt_messages: list[PromptMessage],
        tools: list[PromptMessageTool] | None = None,
    ) -> int:
        """Estimate: the upstream's tokenizer is not known, and downloading one is not ours to do."""
        messages = to_openai(message.model_dump(mode="json") for message in prompt_messages)
        definitions = to_definitions(tool.model_dump(mode="json") for tool in tools or [])
        return estimate_prompt(messages, (definition.to_openai() for definition in definitions))

    def validate_credentials(self, model: str, credentials: Mapping[str, Any]) -> None:
        """Ask the upstream for the model and the bridge whether it knows us."""
        try:
            problems = problems_of(Credentials.read(credentials), [model])
        except Refused as refused:
            raise CredentialsValidateFailedError(str(refused)) from None
        if problems:
            raise CredentialsValidateFailedError(" | ".join(problems))

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return sdk_errors.TYPED

    def _transform_invoke_error(self, error: Exception) -> InvokeError:
        return sdk_errors.typed(error)

    # What the model can do

    _of_invocation: dict[str, AIModelEntity] | None = None
    """What an invocation asked for, as the SDK does time and again, None where there is none and nobody waits for an
    answer: Dify makes an object of this class for each request.
    """

    def get_model_schema(self, model: str, credentials: Mapping[str, Any] | None = None) -> AIModelEntity | None:
        """Return the schema of `main`, `light` or a model whose name the user typed, as the credentials make it."""
        if self._of_invocation is None:
            return self._schema(model, credentials, may_probe=True)
        if model not in self._of_invocation:
            self._of_invocation[model] = self._schema(model, credentials, may_probe=False)
        return self._of_invocation[model]

    def _schema(self, model: str, credentials: Mapping[str, Any] | None, *, may_probe: bool) -> AIModelEntity:
        static = self._static_schema(model)
        if not credentials:
            return static
        try:
            form = Credentials.read(credentials)
        except Refused:
            return static
        if may_probe and form.names(model) and form.upstream_base_url and not findings_about(form, model):
            find_out(form, model)
        return schema_for(static, form, capabilities(form, model))

    def _static_schema(self, model: str) -> AIModelEntity:
        schemas = {schema.model: schema for schema in self.model_schemas}
        if model in schemas:
            return schemas[model].model_copy(update={"parameter_rules": schemas[MAIN].parameter_rules})
        schema = schemas[MAIN].model_copy(deep=True)
        schema.model = model
        schema.label.en_us = schema.label.zh_hans = schema.label.pt_br = schema.label.ja_jp = model
        schema.fetch_from = FetchFrom.CUSTOMIZABLE_MODEL
        return schema

    def _validate_and_filter_model_parameters(
        self, model: str, model_parameters: dict[str, Any], credentials: dict[str, Any]
    ) -> dict[str, Any]:
        """Check parameters as the SDK does, but take `"5"` for 5 and tell what is wrong with one of the five errors.

        Dify turns a parameter's text that looks like a number or a truth value into one, variables included.
        """
        self._of_invocation = {}
        fitted = {
            rule.name: _fitting(rule.type, model_parameters[rule.name])
            for rule in self.get_parameter_rules(model, credentials)
            if model_parameters.get(rule.name) is not None
        }
        try:
            filtered: dict[str, Any] = super()._validate_and_filter_model_parameters(model, fitted, credentials)
        except ValueError as error:
            raise InvokeBadRequestError(f"The node's settings cannot be used. {error}") from None
        return filtered


def _fitting(kind: ParameterType, value: Any) -> Any:
    if kind in {ParameterType.STRING, ParameterType.TEXT} and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if kind is ParameterType.INT and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _chunk(
    model: str,
    index: int,
    message: AssistantPromptMessage,
    usage: LLMUsage | None = None,
    finish_reason: str | None = None,
) -> LLMResultChunk:
    delta = LLMResultChunkDelta(index=index, message=message, usage=usage, finish_reason=finish_reason)
    return LLMResultChunk(model=model, delta=delta)


def _tool_call(call: ToolCall) -> AssistantPromptMessage.ToolCall:
    return AssistantPromptMessage.ToolCall(
        id=call.id,
        type="function",
        function=AssistantPromptMessage.ToolCall.ToolCallFunction(name=call.name, arguments=call.arguments),
    )
