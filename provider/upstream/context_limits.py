"""How upstreams say that a prompt does not fit their model's context: a row of data for each wording."""

import re

from provider.upstream.wordings import Wording, any_of

_STATUSES = {400, 413, 422, 500}
"""llama.cpp's older servers and some gateways answer 500."""


WORDINGS = (
    Wording(
        "OpenAI, DeepSeek",
        r"maximum context length",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
    ),
    Wording(
        "OpenAI (Responses), LiteLLM",
        r"exceeds the context window|ContextWindowExceeded",
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
    ),
    Wording(
        "vLLM",
        r"(prompt|input).{0,40}longer than the (maximum )?model length|decoder prompt .{0,40}longer than",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    ),
    Wording(
        "SGLang",
        r"input length .{0,60}exceeds the (maximum allowed|model's context)|longer than the model's context length",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    ),
    Wording(
        "llama.cpp, LM Studio",
        r"exceeds? the available context size|context size (has been )?exceeded|greater than the context length",
        "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
    ),
    Wording(
        "Ollama",
        r"exceeds? (the )?(maximum )?context (length|window)|input length exceeds",
        "the input length exceeds the context length",
    ),
    Wording("Anthropic, OpenRouter", r"prompt is too long", "prompt is too long: 210000 tokens > 200000 maximum"),
    Wording(
        "Gemini",
        r"input token count .{0,40}exceeds the maximum",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    Wording(
        "DashScope (Qwen)",
        r"range of input length should be",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
    ),
    Wording(
        "Zhipu (GLM)",
        r"prompt exceeds max length|\b1261\b.{0,40}prompt|输入.{0,12}(超长|过长|长度超)",
        "Prompt exceeds max length",
    ),
    Wording(
        "Moonshot (Kimi)",
        r"exceeded model token limit",
        "Invalid request: Your request exceeded model token limit: 8192",
    ),
    Wording(
        "SiliconFlow",
        r"max_total_tokens|max_seq_len|length of prompt_tokens .{0,40}must be less than",
        "length of prompt_tokens (40000) must be less than max_seq_len (32768).",
    ),
    Wording(
        "Mistral",
        r"too large for model with \d+ maximum context",
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    ),
    Wording(
        "Groq, Together",
        r"reduce the length of (the )?(messages|prompt|input)",
        "Please reduce the length of the messages or completion.",
    ),
    Wording(
        "TGI",
        r"`?inputs`? (tokens \+ `?max_new_tokens`? )?must (be|have) (<=|less than)",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
    ),
    Wording(
        "Bedrock, gateways",
        r"(input|prompt) is too long|too many (input )?tokens",
        "Input is too long for requested model.",
    ),
    Wording("others", r"context.?length.{0,12}exceeded|context.?window", "context length exceeded"),
)

_ANY = any_of(WORDINGS)
_CODES = {"context_length_exceeded", "ContextWindowExceededError", "exceed_context_size_error", "1261"}
_ABOUT_RATE = re.compile(r"per (minute|day|second)|\bTPM\b|rate limit", re.IGNORECASE)


def tells_too_long(status: int, code: str, said: str) -> bool:
    """Say whether a refusal means that the prompt is too long. Too many tokens a minute are another matter."""
    if status not in _STATUSES:
        return False
    return code in _CODES or bool(_ANY.search(said) and not _ABOUT_RATE.search(said))
