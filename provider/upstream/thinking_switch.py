"""How a model's reasoning is switched on and off, and how hard it thinks: five dialects, as data.

Sources: OpenAI's and Ollama's `reasoning_effort`; DeepSeek's, Zhipu's and Moonshot's `thinking`; DashScope's and
SiliconFlow's `enable_thinking`; the chat templates that vLLM and SGLang render; OpenRouter's `reasoning`.
"""

from typing import Any

from provider.upstream.vendors import ThinkingDialect

_ON: dict[ThinkingDialect, dict[str, Any]] = {
    "reasoning_effort": {},
    "thinking": {"thinking": {"type": "enabled"}},
    "enable_thinking": {"enable_thinking": True},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
    "reasoning": {"reasoning": {"enabled": True}},
}
_OFF: dict[ThinkingDialect, dict[str, Any]] = {
    "reasoning_effort": {"reasoning_effort": "none"},
    "thinking": {"thinking": {"type": "disabled"}},
    "enable_thinking": {"enable_thinking": False},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    "reasoning": {"reasoning": {"enabled": False}},
}


def thinking_fields(dialect: ThinkingDialect, thinking: bool | None, effort: str | None) -> dict[str, Any]:
    """Return a request's fields. `thinking` None leaves it to the model; an `effort` counts only where it thinks."""
    if thinking is False:
        return dict(_OFF[dialect])
    fields = dict(_ON[dialect]) if thinking else {}
    if not effort:
        return fields
    if dialect == "reasoning":
        return {"reasoning": {"effort": effort}}
    return fields | {"reasoning_effort": effort}
