"""What upstreams say in words alone: one table, a row of data for each wording."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """What one kind of server says, as a pattern; the tests have an example of each as it came from one."""

    server: str
    pattern: str


def any_of(wordings: Iterable[Wording]) -> re.Pattern[str]:
    """Return the pattern that finds any of the wordings, in capitals or not."""
    return re.compile("|".join(f"(?:{wording.pattern})" for wording in wordings), re.IGNORECASE)


_TOO_LONG_STATUSES = {400, 413, 422, 500}
"""llama.cpp's older servers and some gateways answer 500."""


TOO_LONG = (
    Wording(
        "OpenAI, DeepSeek",
        r"maximum context length",
    ),
    Wording(
        "OpenAI (Responses), LiteLLM",
        r"exceeds the context window|ContextWindowExceeded",
    ),
    Wording(
        "vLLM",
        r"(prompt|input).{0,40}longer than the (maximum )?model length|decoder prompt .{0,40}longer than",
    ),
    Wording(
        "SGLang",
        r"input length .{0,60}exceeds the (maximum allowed|model's context)|longer than the model's context length",
    ),
    Wording(
        "SGLang's router",
        r"total tokens exceeds? the model",
    ),
    Wording(
        "llama.cpp, LM Studio",
        r"exceeds? the available context size|context size (has been )?exceeded|greater than the context length|"
        r"context the overflows|loaded with context length",
    ),
    Wording(
        "Ollama",
        r"exceeds? (the )?(maximum |max )?context (length|window)|exceeded max context length|input length exceeds",
    ),
    Wording("Anthropic, OpenRouter", r"prompt (is )?too long"),
    Wording(
        "Anthropic's newer models",
        r"exceeds? (the )?context limit",
    ),
    Wording(
        "GitHub Copilot",
        r"(prompt|input) token count .{0,40}exceeds the limit",
    ),
    Wording(
        "GitHub Models",
        r"request body too large for .{1,60}model",
    ),
    Wording(
        "Gemini",
        r"input token count .{0,40}exceeds the maximum",
    ),
    Wording(
        "DashScope (Qwen)",
        r"range of input length should be",
    ),
    Wording(
        "Zhipu (GLM)",
        r"prompt exceeds max length|\b1261\b.{0,40}prompt|输入.{0,12}(超长|过长|长度超)",
    ),
    Wording(
        "Moonshot (Kimi)",
        r"exceed(ed|s)? (the )?model('s)? (token )?limit|exceeded model token limit",
    ),
    Wording(
        "SiliconFlow",
        r"max_total_tokens|max_seq_len|length of prompt_tokens .{0,40}must be less than",
    ),
    Wording(
        "Mistral",
        r"too large for model with \d+ maximum context",
    ),
    Wording(
        "Groq, Together",
        r"reduce the length of (the )?(messages|prompt|input)",
    ),
    Wording(
        "TGI",
        r"`?inputs`? (tokens \+ `?max_new_tokens`? )?must (be|have) (<=|less than)",
    ),
    Wording(
        "Bedrock, gateways",
        r"(input|prompt|request) is too long|too many (input )?tokens|exceeds the max(imum)? input token limit",
    ),
    Wording(
        "MiniMax, Baichuan, gateways",
        r"model max length exceeded|exceeds? (the )?max(imum)? (prompt|input) length",
    ),
    Wording("xAI", r"maximum prompt length is"),
    Wording("Azure's GPT-5", r"input tokens exceed the configured limit"),
    Wording("Cerebras", r"current length is \d+ while limit is"),
    Wording("Vertex", r"token count is \d+ but model only supports"),
    Wording("Volcengine", r"exceeds? max message tokens|(input|prompt) length \d+ exceeds"),
    Wording("DS4", r"exceeds context size|configured context size"),
    Wording("Qianfan", r"prompt tokens too long|max input characters"),
    Wording("others", r"context.?length.{0,12}exceeded|context.?window|maximum context limit|token limit exceeded"),
)

_ANY_TOO_LONG = any_of(TOO_LONG)
_CODES = {
    "context_length_exceeded",
    "tokens_limit_reached",
    "ContextWindowExceededError",
    "exceed_context_size_error",
    "1261",
}
_ABOUT_RATE = re.compile(
    r"(per|a|/) ?(minute|min|day|second|hour)\b|\b[TR]P[MDS]\b|rate.?limit|throttl|"
    r"too many (tokens|requests), please wait",
    re.IGNORECASE,
)
_ABOUT_ANSWER = re.compile(
    r"(?<!\+ )(?<!\+ .)max_?(completion_|output_|new_)?tokens?['\"`:]*( or ['\"`]?max_completion_tokens['\"`]?)?"
    r"(: \d+| \(\d+\))? ?(is|are|>|must|should|value|exceeds|cannot|has to)\b.{0,30}|"
    r"(too many|maximum number of|max(imum)?) (completion|output) tokens",
    re.IGNORECASE,
)
"""A cap on the answer: a client that took it for a prompt that is too long would shorten its prompt for ever."""


def tells_too_long(status: int, code: str, said: str) -> bool:
    """Say whether a refusal means that the prompt is too long. Too many tokens a minute are another matter."""
    if status not in _TOO_LONG_STATUSES:
        return False
    if tells_rate(said) or _ABOUT_ANSWER.search(said):
        return False
    return status == 413 or code in _CODES or bool(_ANY_TOO_LONG.search(said))


def tells_rate(said: str) -> bool:
    """Say whether a refusal is about how much is asked in a time."""
    return bool(_ABOUT_RATE.search(said))


_NO_TOOLS_STATUSES = {400, 404, 422, 500, 501}
"""Some gateways answer 500 for it."""

_TOOLS = r"(tools?|functions?)([ _-]?(calls?|calling|use|choice))?"


NO_TOOLS = (
    Wording(
        "Ollama, DeepSeek, Together",
        rf"(does not|doesn't|do not|cannot|not) (currently )?support (the )?['\"`\[]*{_TOOLS}\b",
    ),
    Wording(
        "SiliconFlow, Groq, Perplexity",
        rf"\b{_TOOLS}['\"`]* (is|are) (not|un)[ -]?(currently )?(supported|available|enabled|allowed)",
    ),
    Wording("OpenRouter", r"no endpoints found that support tool use"),
    Wording(
        "vLLM",
        r"requires --enable-auto-tool-choice|--tool-call-parser",
    ),
    Wording("llama.cpp", r"(tools|tool_choice) param requires --jinja"),
    Wording(
        "LiteLLM",
        r"does not support parameters: \[[^\]]*['\"]tools['\"]",
    ),
    Wording(
        "OpenAI's older models, gateways",
        r"(unrecognized|unknown|unsupported|unexpected|invalid) (request )?(argument|parameter|field|property)"
        r"[^.]{0,20}?:? ['\"`\[]*(tools|functions)\b",
    ),
    Wording(
        "servers that check their fields",
        r"\b(tools|functions)\b['\"`\]\)]*[:,]? ['\"]?(extra (fields|inputs) (are )?not permitted|is not permitted)",
    ),
    Wording("others", r"\bno tools\b|不支持.{0,8}(工具|函数|tool|function)"),
)

_ANY_NO_TOOLS = any_of(NO_TOOLS)


def tells_no_tools(status: int | None, said: str) -> bool:
    """Say whether a refusal means that the model knows no tools at all."""
    return status in _NO_TOOLS_STATUSES and bool(_ANY_NO_TOOLS.search(said))
