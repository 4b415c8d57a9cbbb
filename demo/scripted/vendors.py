"""Imitations of vendors: what their servers refuse and overlook, and the words in which they say so."""

from demo.scripted.quirks import No, Quirks

QUIRKS: dict[str, Quirks] = {
    # https://platform.openai.com/docs/api-reference/chat/create
    "openai-reasoning": Quirks(
        refuses={
            "max_tokens": No(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                code="unsupported_parameter",
            )
        }
    ),
    # https://api-docs.deepseek.com/guides/json_mode
    "deepseek": Quirks(
        refuses={
            "json_schema": No("This response_format type is unavailable now"),
            "image": No(
                "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, "
                "expected `text` at line 1 column 150"
            ),
        },
        own_fields=frozenset({"thinking"}),
    ),
    # https://docs.siliconflow.cn/en/faqs/error-code
    "siliconflow": Quirks(
        refuses={"image": No("The model is not a VLM (Vision Language Model). Please use text-only prompts.")},
        overlooks=frozenset({"tool_choice", "json_schema"}),
        own_fields=frozenset({"enable_thinking", "thinking_budget", "top_k", "min_p"}),
    ),
    # https://help.aliyun.com/zh/model-studio/error-code
    "dashscope": Quirks(
        refuses={
            "json_schema": No(
                "<400> InternalError.Algo.InvalidParameter: 'response_format.type' must be 'text' or 'json_object'",
                code="invalid_parameter_error",
            )
        },
        own_fields=frozenset({"enable_thinking", "thinking_budget", "enable_search", "top_k", "repetition_penalty"}),
    ),
    # https://platform.moonshot.cn/docs/api/chat
    "moonshot": Quirks(
        refuses={
            "tool_choice": No("tool_choice 'specified' is incompatible with thinking enabled"),
            "json_schema": No("Invalid request: response_format type json_schema is not supported"),
        },
        own_fields=frozenset({"thinking"}),
    ),
    # https://docs.bigmodel.cn/api-reference
    "zhipu": Quirks(
        refuses={
            "image": No("API 调用参数有误，请检查文档。", code="1210"),
            "user": No("Unknown parameter: 'user'."),
        },
        overlooks=frozenset({"tool_choice", "json_schema"}),
        own_fields=frozenset({"thinking", "user_id"}),
    ),
    # https://docs.ollama.com/api/openai-compatibility
    "ollama-without-tools": Quirks(
        refuses={
            "tools": No("registry.ollama.ai/library/gemma:2b does not support tools"),
            "image": No("this model is missing data required for image input", status=500),
        },
        overlooks=frozenset({"tool_choice"}),
    ),
    "ollama": Quirks(overlooks=frozenset({"tool_choice", "image"})),
    # https://docs.vllm.ai/en/latest/features/tool_calling.html
    "vllm-without-parser": Quirks(
        refuses={
            "free choice of tools": No(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            ),
            "image": No("At most 0 image(s) may be provided in one prompt."),
        },
        own_fields=frozenset({"chat_template_kwargs", "top_k", "min_p", "repetition_penalty"}),
    ),
    # https://lmstudio.ai/docs/developer/openai-compat/structured-output
    "lm-studio": Quirks(
        refuses={
            "named tool_choice": No(
                "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
            ),
            "json_object": No("'response_format.type' must be 'json_schema' or 'text'"),
        }
    ),
    # https://openrouter.ai/docs/api-reference/errors
    "openrouter-without-tools": Quirks(
        refuses={
            "tools": No("No endpoints found that support tool use.", status=404),
            "image": No("No endpoints found that support image input", status=404),
        },
        own_fields=frozenset({"reasoning"}),
    ),
    # https://docs.litellm.ai/docs/exception_mapping
    "litellm": Quirks(
        refuses={
            "parallel_tool_calls": No(
                "litellm.UnsupportedParamsError: bedrock does not support parameters: ['parallel_tool_calls']"
            )
        }
    ),
    "before-usage": Quirks(refuses={"stream_options": No("Unrecognized request argument supplied: stream_options")}),
    "without-usage": Quirks(overlooks=frozenset({"stream_options"})),
    "whole-calls": Quirks(overlooks=frozenset({"streamed calls"})),
    "without-streams": Quirks(refuses={"stream": No("Streaming is not supported for this deployment.")}),
}
