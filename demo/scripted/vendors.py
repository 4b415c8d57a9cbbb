"""Imitations of vendors: how their servers differ from OpenAI's, and the words in which they say so.

No rule was seen on a live server by this project: each names the reference or the report it comes from.
"""

from typing import Any

from demo.scripted.quirks import Quirks, Rule

_GITHUB = "https://github.com/"


def _no(what: str, words: str, source: str, **more: Any) -> Rule:
    return Rule("refuses", what, source, words=words, **more)


def _overlooks(source: str, *what: str, **more: Any) -> tuple[Rule, ...]:
    return tuple(Rule("overlooks", each, source, **more) for each in what)


def _writes(source: str, *what: str, **more: Any) -> tuple[Rule, ...]:
    return tuple(Rule("writes", each, source, **more) for each in what)


_OPENAI = "https://platform.openai.com/docs/api-reference/chat/create"
_AZURE = "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming"
_GEMINI = "https://ai.google.dev/gemini-api/docs/thought-signatures"
_GEMINI_STREAM = f"{_GITHUB}open-webui/computer/issues/224"
_DEEPSEEK = "https://api-docs.deepseek.com/guides/thinking_mode"
_MOONSHOT = "https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model"
_ZHIPU = "https://docs.bigmodel.cn/api-reference"
_MINIMAX = "https://platform.minimax.io/docs/api-reference/text-openai-api"
_DASHSCOPE = "https://help.aliyun.com/zh/model-studio/error-code"
_MISTRAL = f"{_GITHUB}anomalyco/opencode/issues/1680"
_GROQ = f"{_GITHUB}janhq/jan/issues/8136"
_OPENROUTER = "https://openrouter.ai/docs/use-cases/reasoning-tokens"
_SILICONFLOW = "https://docs.siliconflow.cn/en/faqs/error-code"
_OLLAMA = "https://docs.ollama.com/api/openai-compatibility"
_VLLM = "https://docs.vllm.ai/en/latest/features/tool_calling.html"
_VLLM_SERVER = "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"
_LLAMA_CPP = f"{_GITHUB}ggml-org/llama.cpp/issues/27367"
_TEMPLATES = f"{_GITHUB}ggml-org/llama.cpp/issues/20733"
_LM_STUDIO = "https://lmstudio.ai/docs/developer/openai-compat/structured-output"
_COPILOT = f"{_GITHUB}anomalyco/opencode/pull/8900"

_NO_MAX_TOKENS = _no(
    "max_tokens",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    _OPENAI,
    code="unsupported_parameter",
    standing="documented",
)
_SYSTEM_FIRST = "System message must be at the beginning."

QUIRKS: dict[str, Quirks] = {
    "openai-reasoning": Quirks(
        (
            _NO_MAX_TOKENS,
            _no(
                "temperature",
                "Unsupported value: 'temperature' does not support this value with this model. "
                "Only the default (1) value is supported.",
                _OPENAI,
                code="unsupported_value",
            ),
        )
    ),
    "azure": Quirks((_NO_MAX_TOKENS, *_writes(_AZURE, "filter results first", standing="documented"))),
    "gemini": Quirks(
        (
            _no(
                "no signature",
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance.",
                _GEMINI,
                standing="documented",
            ),
            _no(
                "exclusive bounds",
                'Invalid JSON payload received. Unknown name "exclusiveMinimum" at '
                "'tools[0].function_declarations[0].parameters.properties[0].value': Cannot find field.",
                f"{_GITHUB}JohnnyZ93/oai-compatible-copilot/pull/104",
            ),
            _no(
                "penalties",
                'Invalid JSON payload received. Unknown name "frequency_penalty": Cannot find field.',
                "https://ai.google.dev/gemini-api/docs/openai",
                standing="guessed",
            ),
            *_writes(_GEMINI, "signatures", standing="documented"),
            *_writes(_GEMINI_STREAM, "whole calls", "no index", "calls end with stop"),
            *_writes(_GEMINI_STREAM, "no ids", standing="guessed"),
        ),
        form="in a list",
    ),
    "deepseek": Quirks(
        (
            _no(
                "no thought",
                "The `reasoning_content` in the thinking mode must be passed back to the API.",
                _DEEPSEEK,
                standing="documented",
            ),
            _no("another thought", "reasoning_content was changed", _DEEPSEEK, standing="guessed"),
            _no(
                "json_schema",
                "This response_format type is unavailable now",
                "https://api-docs.deepseek.com/guides/json_mode",
            ),
            _no(
                "image",
                "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, "
                "expected `text` at line 1 column 150",
                "https://api-docs.deepseek.com/api/create-chat-completion",
            ),
            _no(
                "developer",
                "Failed to deserialize the JSON body into the target type: messages[0].role: unknown variant "
                "`developer`, expected one of `system`, `user`, `assistant`, `tool` at line 1 column 40",
                "https://api-docs.deepseek.com/api/create-chat-completion",
            ),
            *_writes(_DEEPSEEK, "reasoning_content", standing="documented"),
        ),
        own_fields=frozenset({"thinking"}),
    ),
    "siliconflow": Quirks(
        (
            _no("image", "The model is not a VLM (Vision Language Model). Please use text-only prompts.", _SILICONFLOW),
            *_overlooks(_SILICONFLOW, "tool_choice", "json_schema"),
            *_writes(_SILICONFLOW, "reasoning_content", "usage in every chunk"),
        ),
        own_fields=frozenset({"enable_thinking", "thinking_budget", "top_k", "min_p"}),
    ),
    "dashscope": Quirks(
        (
            _no(
                "json_schema",
                "<400> InternalError.Algo.InvalidParameter: 'response_format.type' must be 'text' or 'json_object'",
                _DASHSCOPE,
                code="invalid_parameter_error",
            ),
            _no(
                "whole thoughts",
                "parameter.enable_thinking must be set to false for non-streaming calls",
                f"{_GITHUB}infiniflow/ragflow/issues/8972",
                code="invalid_parameter_error",
            ),
            *_writes("https://help.aliyun.com/zh/model-studio/qwen-function-calling", "empty ids later"),
            *_writes("https://help.aliyun.com/zh/model-studio/deep-thinking", "reasoning_content"),
        ),
        own_fields=frozenset({"enable_thinking", "thinking_budget", "enable_search", "top_k", "repetition_penalty"}),
    ),
    "moonshot": Quirks(
        (
            _no("tool_choice", "tool_choice 'specified' is incompatible with thinking enabled", _MOONSHOT),
            _no("json_schema", "Invalid request: response_format type json_schema is not supported", _MOONSHOT),
            _no(
                "no thought ever",
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
                _MOONSHOT,
            ),
            *_writes(_MOONSHOT, "reasoning_content", standing="documented"),
            *_writes(
                "https://huggingface.co/moonshotai/Kimi-K2-Thinking/blob/main/docs/tool_call_guidance.md",
                "ids by name",
                standing="documented",
            ),
        ),
        own_fields=frozenset({"thinking"}),
    ),
    "zhipu": Quirks(
        (
            _no("image", "API 调用参数有误，请检查文档。", _ZHIPU, code="1210"),
            _no("user", "Unknown parameter: 'user'.", _ZHIPU, standing="guessed"),
            *_overlooks(_ZHIPU, "tool_choice", "json_schema"),
            *_writes(_ZHIPU, "reasoning_content", "whole calls", "usage with the end"),
        ),
        own_fields=frozenset({"thinking", "user_id"}),
    ),
    "minimax": Quirks(
        (
            _no(
                "several systems",
                "invalid params, invalid chat setting (2013)",
                f"{_GITHUB}can1357/oh-my-pi/pull/954",
            ),
            *_writes(_MINIMAX, "think tags", "the whole message last"),
            *_writes(f"{_GITHUB}MiniMax-AI/MiniMax-M2.5/issues/2", "empty role"),
            *_writes(f"{_GITHUB}spring-projects/spring-ai/pull/1276", "empty ids later"),
        ),
        form="base_resp",
    ),
    "mistral": Quirks(
        (
            _no("long ids", "Tool call id was call but must be a-z, A-Z, 0-9, with a length of 9.", _MISTRAL),
            _no("user after tool", "Unexpected role 'user' after role 'tool'", "https://docs.mistral.ai/api"),
            _no("system after tool", "Unexpected role 'system' after role 'tool'", "https://docs.mistral.ai/api"),
            _no("user", "body -> user: Extra inputs are not permitted", "https://docs.mistral.ai/api", status=422),
            *_writes("https://docs.mistral.ai/capabilities/reasoning", "thinking parts"),
            *_writes("https://docs.mistral.ai/api", "ids of nine", "whole calls", "usage with the end"),
        ),
        form="flat",
    ),
    "groq": Quirks(
        (
            _no(
                "reasoning_content",
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property "
                "'reasoning_content' is unsupported)]",
                _GROQ,
            ),
            _no(
                "json beside tools",
                "json mode cannot be combined with tool/function calling",
                "https://console.groq.com/docs/structured-outputs",
            ),
            *_writes(f"{_GITHUB}tensorzero/tensorzero/pull/6353", "reasoning"),
            *_writes("https://console.groq.com/docs/tool-use", "whole calls"),
            *_writes("https://console.groq.com/docs/openai", "usage with the end"),
        )
    ),
    "openrouter": Quirks(
        (
            _no(
                "other details", "reasoning_details must be passed back unmodified", _OPENROUTER, standing="documented"
            ),
            *_overlooks("https://openrouter.ai/docs/api-reference/overview", "unknown fields of messages"),
            *_writes(_OPENROUTER, "reasoning", "reasoning_details", standing="documented"),
            *_writes("https://openrouter.ai/docs/api-reference/streaming", "comments", standing="documented"),
        ),
        own_fields=frozenset({"reasoning", "usage", "provider", "models"}),
    ),
    "openrouter-without-tools": Quirks(
        (
            _no("tools", "No endpoints found that support tool use.", _OPENROUTER, status=404),
            _no("image", "No endpoints found that support image input", _OPENROUTER, status=404),
        ),
        own_fields=frozenset({"reasoning", "usage", "provider", "models"}),
    ),
    "together": Quirks(
        (
            *_writes("https://docs.together.ai/docs/function-calling", "whole calls", standing="guessed"),
            *_writes(f"{_GITHUB}togethercomputer/openapi/pull/132", "reasoning"),
            *_writes("https://docs.together.ai/docs/function-calling", "index 0", standing="guessed"),
        )
    ),
    "ollama-without-tools": Quirks(
        (
            _no("tools", "registry.ollama.ai/library/gemma:2b does not support tools", _OLLAMA),
            _no("image", "this model is missing data required for image input", _OLLAMA, status=500),
            *_overlooks(_OLLAMA, "tool_choice", standing="documented"),
        )
    ),
    "ollama": Quirks(
        (
            *_overlooks(_OLLAMA, "tool_choice", "image", standing="documented"),
            *_overlooks(_OLLAMA, "unknown fields of messages"),
            *_writes(f"{_GITHUB}Gitlawb/openclaude/pull/1394", "reasoning", "whole calls", "index 0"),
        )
    ),
    "vllm": Quirks(
        (
            _no("late system", _SYSTEM_FIRST, _TEMPLATES),
            *_overlooks(_VLLM_SERVER, "unknown fields of messages"),
            *_writes("https://docs.vllm.ai/en/latest/features/reasoning_outputs.html", "reasoning"),
        ),
        own_fields=frozenset({"chat_template_kwargs", "top_k", "min_p", "repetition_penalty"}),
        form="flat",
    ),
    "vllm-without-parser": Quirks(
        (
            _no(
                "free choice of tools",
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
                _VLLM,
                standing="documented",
            ),
            _no("image", "At most 0 image(s) may be provided in one prompt.", _VLLM),
        ),
        own_fields=frozenset({"chat_template_kwargs", "top_k", "min_p", "repetition_penalty"}),
    ),
    "sglang": Quirks(
        (
            _no("late system", _SYSTEM_FIRST, _TEMPLATES),
            *_writes("https://docs.sglang.ai/advanced_features/separate_reasoning.html", "reasoning_content"),
            *_writes("https://docs.sglang.ai/advanced_features/tool_parser.html", "index 0", standing="guessed"),
        ),
        own_fields=frozenset({"chat_template_kwargs", "separate_reasoning", "top_k", "min_p", "repetition_penalty"}),
        form="flat",
    ),
    "llama-cpp": Quirks(
        (
            _no("late system", f"Jinja Exception: {_SYSTEM_FIRST}", _LLAMA_CPP, status=500),
            *_writes("https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md", "reasoning_content"),
        ),
        own_fields=frozenset({"chat_template_kwargs", "top_k", "min_p"}),
    ),
    "lm-studio": Quirks(
        (
            _no(
                "named tool_choice",
                "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
                _LM_STUDIO,
            ),
            _no("json_object", "'response_format.type' must be 'json_schema' or 'text'", _LM_STUDIO),
            *_writes("https://lmstudio.ai/docs/developer/openai-compat/tools", "think tags"),
        )
    ),
    "litellm": Quirks(
        (
            _no(
                "parallel_tool_calls",
                "litellm.UnsupportedParamsError: bedrock does not support parameters: ['parallel_tool_calls']",
                "https://docs.litellm.ai/docs/exception_mapping",
            ),
        )
    ),
    "copilot": Quirks(
        (
            *_writes(_COPILOT, "reasoning_text", "reasoning_opaque"),
            *_writes(_COPILOT, "calls in a second choice"),
        )
    ),
    "before-usage": Quirks(
        (_no("stream_options", "Unrecognized request argument supplied: stream_options", _OPENAI),),
    ),
    "without-usage": Quirks(_overlooks(_OPENAI, "stream_options")),
    "whole-calls": Quirks(_overlooks(_OPENAI, "streamed calls")),
    "without-streams": Quirks((_no("stream", "Streaming is not supported for this deployment.", _AZURE),)),
}
"""By the names of their models, without `models.LIKE_PREFIX`."""

_SERVERS = {"before-usage", "without-usage", "whole-calls", "without-streams"}
"""What servers of no vendor in particular do."""

VENDORS = sorted(
    name
    for name, quirks in QUIRKS.items()
    if name not in _SERVERS and not any(rule.what in ("tools", "free choice of tools") for rule in quirks.refuses)
)
"""Those that a loop of tools can ask."""
