"""Ready-made entries: upstreams that people use, and where each differs from OpenAI, as data.

Nothing elsewhere asks for a vendor by its name. A row says only what is not true of most. A credential overrides it,
and what a probe finds out counts more than what stands here.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

ThinkingDialect = Literal["reasoning_effort", "thinking", "enable_thinking", "chat_template_kwargs", "reasoning"]
Structure = Literal["json_schema", "json_object", ""]


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor. It is recognised by its `hosts` (and what is below them) or, on one's own machines, by its `port`.

    `thinking` is how reasoning is switched, `completion_tokens` the beginnings of the names of models that want
    `max_completion_tokens`, `structure` the strictest response format, `user_field` the name of OpenAI's `user`.
    `tools`, `tool_choice`, `vision` say what is to be expected where nobody has found out, `lessons` what its refusals
    would teach (`lessons.KNOWN`).
    """

    name: str
    label: str
    base_url: str
    source: str
    hosts: tuple[str, ...] = ()
    port: int | None = None
    needs_key: bool = True
    thinking: ThinkingDialect = "reasoning_effort"
    completion_tokens: tuple[str, ...] = ()
    structure: Structure = ""
    user_field: str = "user"
    tools: bool = True
    tool_choice: bool = True
    vision: bool = True
    audio_as_url: bool = False
    document_as_url: bool = False
    lessons: tuple[str, ...] = ()


# OpenAI's reasoning models refuse `max_tokens`: https://platform.openai.com/docs/api-reference/chat/create
OPENAI_REASONING = ("o1", "o3", "o4", "gpt-5")

OTHER = Vendor("other", "Another server", "", "", needs_key=False, completion_tokens=OPENAI_REASONING)

VENDORS = (
    Vendor(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "https://platform.openai.com/docs/api-reference/chat/create",
        hosts=("api.openai.com", "openai.azure.com"),
        completion_tokens=OPENAI_REASONING,
        structure="json_schema",
    ),
    Vendor(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        "https://api-docs.deepseek.com/guides/thinking_mode",
        hosts=("api.deepseek.com",),
        thinking="thinking",
        lessons=("reasoning_content",),
        structure="json_object",
        vision=False,
    ),
    Vendor(
        "siliconflow",
        "SiliconFlow",
        "https://api.siliconflow.cn/v1",
        "https://docs.siliconflow.cn/en/api-reference/chat-completions/chat-completions",
        hosts=("siliconflow.cn", "siliconflow.com"),
        thinking="enable_thinking",
        structure="json_object",
        tool_choice=False,
    ),
    Vendor(
        "dashscope",
        "Qwen (DashScope)",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://help.aliyun.com/zh/model-studio/qwen-api-reference",
        hosts=("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"),
        thinking="enable_thinking",
        structure="json_object",
        audio_as_url=True,
    ),
    Vendor(
        "moonshot",
        "Moonshot (Kimi)",
        "https://api.moonshot.cn/v1",
        "https://platform.moonshot.cn/docs/api/chat",
        hosts=("api.moonshot.cn", "api.moonshot.ai"),
        thinking="thinking",
        lessons=("reasoning_content", "typed"),
        structure="json_object",
        tool_choice=False,
    ),
    Vendor(
        "zhipu",
        "Zhipu (GLM)",
        "https://open.bigmodel.cn/api/paas/v4",
        "https://docs.bigmodel.cn/api-reference",
        hosts=("open.bigmodel.cn", "api.z.ai"),
        thinking="thinking",
        structure="json_object",
        user_field="user_id",
        tool_choice=False,
        document_as_url=True,
    ),
    Vendor(
        "gemini",
        "Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "https://ai.google.dev/gemini-api/docs/openai",
        hosts=("generativelanguage.googleapis.com",),
        structure="json_schema",
        lessons=("thought_signature",),
    ),
    Vendor(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "https://docs.mistral.ai/api",
        hosts=("api.mistral.ai",),
        structure="json_schema",
        lessons=("answer_between", "call_ids", "user"),
    ),
    Vendor(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "https://console.groq.com/docs/openai",
        hosts=("api.groq.com",),
        structure="json_object",
    ),
    Vendor(
        "ollama",
        "Ollama",
        "http://host.docker.internal:11434/v1",
        "https://docs.ollama.com/api/openai-compatibility",
        port=11434,
        needs_key=False,
        structure="json_schema",
        tool_choice=False,
    ),
    Vendor(
        "vllm",
        "vLLM",
        "http://host.docker.internal:8000/v1",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        port=8000,
        needs_key=False,
        thinking="chat_template_kwargs",
        structure="json_schema",
    ),
    Vendor(
        "lm_studio",
        "LM Studio",
        "http://host.docker.internal:1234/v1",
        "https://lmstudio.ai/docs/developer/openai-compat",
        port=1234,
        needs_key=False,
        structure="json_schema",
    ),
    Vendor(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "https://openrouter.ai/docs/api-reference/overview",
        hosts=("openrouter.ai",),
        thinking="reasoning",
        structure="json_schema",
    ),
    Vendor(
        "litellm",
        "LiteLLM",
        "http://host.docker.internal:4000",
        "https://docs.litellm.ai/docs/proxy/user_keys",
        port=4000,
        completion_tokens=OPENAI_REASONING,
        structure="json_schema",
    ),
)

_BY_NAME = {vendor.name: vendor for vendor in (*VENDORS, OTHER)}
AUTO = "auto"


def vendor_named(name: str) -> Vendor | None:
    """Return the vendor that a form names, None for `auto` and for a name that nobody knows."""
    return _BY_NAME.get(name)


def vendor_at(base_url: str) -> Vendor:
    """Return the vendor at an address: by its host, or by the port that its server listens on."""
    url = urlsplit(base_url)
    host = (url.hostname or "").lower()
    for vendor in VENDORS:
        if any(host == known or host.endswith(f".{known}") for known in vendor.hosts):
            return vendor
    return next((vendor for vendor in VENDORS if vendor.port and vendor.port == url.port), OTHER)
