"""What upstreams say in words alone: one table, a row of data for each wording."""

import re
from collections.abc import Mapping

type Wordings = Mapping[str, str]
"""What each kind of server says, as a pattern; the tests have an example of each as it came from one."""


def any_of(wordings: Wordings) -> re.Pattern[str]:
    """Return the pattern that finds any of the wordings, in capitals or not."""
    return re.compile("|".join(wordings.values()), re.IGNORECASE)


_TOO_LONG_STATUSES = {400, 413, 422, 500}
"""llama.cpp's older servers and some gateways answer 500."""


TOO_LONG: Wordings = {
    "OpenAI, DeepSeek": r"maximum context length",
    "OpenAI (Responses), LiteLLM": r"exceeds the context window|ContextWindowExceeded|"
    r"(messages|input)\[\S*: string too long",
    "vLLM": r"prompt .{0,40}longer than|input.{0,40}longer than the (maximum )?model length|"
    r"must be at least 1, got -|prompt \(\d+ tokens\) is too long",
    "SGLang": r"input length .{0,60}exceeds the (maximum allowed|model's context)|"
    r"longer than the model's context length",
    "SGLang's router": r"total tokens exceeds? the model",
    "llama.cpp, LM Studio": r"exceeds? the available context size|context size (has been )?exceeded|"
    r"greater than the context length|context the overflows|loaded with context length",
    "Ollama": r"exceeds? (the )?(maximum |max )?context (length|window)|exceeded max context length|"
    r"input length exceeds",
    "Anthropic, OpenRouter": r"prompt (is )?too long",
    "Anthropic's newer models": r"exceeds? (the )?context limit",
    "GitHub Copilot": r"(prompt|input) token count .{0,40}exceeds the limit",
    "GitHub Models": r"request body too large for .{1,60}model",
    "Gemini": r"input token count .{0,40}exceeds the maximum",
    "DashScope (Qwen)": r"range of input length should be",
    "Zhipu (GLM)": r"prompt exceeds max length|\b1261\b.{0,40}prompt|输入.{0,12}(超长|过长|长度超)",
    "Moonshot (Kimi)": r"exceed(ed|s)? (the )?model('s)? (token )?limit|exceeded model token limit",
    "SiliconFlow": r"max_total_tokens|max_seq_len|max_prompt_tokens|length of prompt_tokens .{0,40}must be less than",
    "Mistral": r"too large for model with \d+ maximum context",
    "Groq, Together": r"reduce the length of (the )?(messages|prompt|input)",
    "TGI": r"`?inputs`? (tokens \+ `?max_new_tokens`? )?must (be|have) (<=|less than)",
    "Bedrock, gateways": r"(input|prompt|request) is too long|too many (input )?tokens|"
    r"exceeds the max(imum)? input token limit",
    "MiniMax, Baichuan, gateways": r"model max length exceeded|exceeds? (the )?max(imum)? (prompt|input) length",
    "xAI": r"maximum prompt length is",
    "Azure's GPT-5": r"input tokens exceed the configured limit",
    "Cerebras": r"current length is \d+ while limit is",
    "Vertex": r"token count is \d+ but model only supports",
    "Volcengine": r"exceeds? max message tokens|(input|prompt) length \d+ exceeds",
    "DS4": r"exceeds context size|configured context size",
    "Qianfan": r"prompt tokens too long|max input characters",
    "others": r"context.?length.{0,12}exceeded|context.?window(?! too small)|maximum context limit|"
    r"token limit exceeded|(prompt|input) (is )?too large|more than max tokens allowed|"
    r"(上下文|token).{0,12}超|超(过|出|长).{0,12}(上下文|token)",
}

_ANY_TOO_LONG = any_of(TOO_LONG)
_CODES = {
    "context_length_exceeded",
    "tokens_limit_reached",
    "ContextWindowExceededError",
    "exceed_context_size_error",
    "1261",
}
_LIMITED = re.compile(
    r"rate limit|rate_limit_(exceeded|reached|error)|too many requests|throttl(ed|ing)|\b[TR]P[MDS]\b|"
    r"tokens per (day|minute)",
    re.IGNORECASE,
)
_ABOUT_RATE = re.compile(
    rf"(per|a|/) ?(minute|min|day|second|hour)\b|rate.?limit|too many tokens, please wait|{_LIMITED.pattern}",
    re.IGNORECASE,
)
_ABOUT_ANSWER = re.compile(
    r"(?<!\+ )(?<!\+ .)max_?(completion_|output_|new_)?tokens?['\"`:]*( or ['\"`]?max_completion_tokens['\"`]?)?"
    r"(: \d+| \(\d+\))? ?(is|are|>|must|should|value|exceeds|cannot|has to)\b.{0,30}|"
    r"(too many|maximum number of|max(imum)?) (completion|output) tokens",
    re.IGNORECASE,
)
"""A cap on the answer: a client that took it for a prompt that is too long would shorten its prompt for ever."""


_NOTHING_LEFT = re.compile("at least 1, got -")


def tells_too_long(status: int, code: str, said: str) -> bool:
    """Say whether a refusal means that the prompt is too long. Too many tokens a minute are another matter."""
    if status not in _TOO_LONG_STATUSES:
        return False
    if _ABOUT_RATE.search(said) or (_ABOUT_ANSWER.search(said) and not _NOTHING_LEFT.search(said)):
        return False
    return status == 413 or code in _CODES or bool(_ANY_TOO_LONG.search(said))


def tells_rate(status: int, said: str) -> bool:
    """Say whether a refusal is about how much is asked in a time: 413 says little of itself."""
    return bool((_ABOUT_RATE if status == 413 else _LIMITED).search(said))


NO_QUOTA: Wordings = {
    "OpenAI": r"insufficient.?(quota|balance|credit|fund)|current quota|billing (details|hard)|billing_(hard|not)",
    "OpenAI's prepaid accounts, xAI": r"\b(no|more|available) credits|spending limit|credit balance|balance_exhausted",
    "OpenRouter": r"(key|credit) limit (exceeded|reached)",
    "Ollama's cloud, Volcengine": r"reached (your|the set) .{0,20}limit",
    "DashScope (Qwen)": r"\b(arrearage|in arrears|good standing)\b",
    "Zhipu (GLM)": r"余额|欠费|please recharge",
}
_ANY_NO_QUOTA = any_of(NO_QUOTA)


def tells_no_quota(said: str) -> bool:
    """Say whether a refusal is about what is paid for. One that says when to try again is about a rate."""
    return bool(_ANY_NO_QUOTA.search(said)) and seconds_in(said) is None


_AGAIN = re.compile(r"(?:retry|try again) (?:in|after) (?:(\d+)m(?!s))?(?:(\d+\.?\d*) ?(ms|s))?", re.IGNORECASE)


def seconds_in(said: str) -> float | None:
    """Return after how many seconds a refusal says to try again."""
    if not (found := _AGAIN.search(said)) or not (found[1] or found[2]):
        return None
    seconds = float(found[2] or 0)
    return 60 * int(found[1] or 0) + (seconds / 1000 if found[3] and found[3].lower() == "ms" else seconds)


FILTERED: Wordings = {
    "Azure, OpenAI": r"content.?filter|content management policy|content.policy|usage polic(y|ies)",
    "xAI": r"violates usage guidelines|safety.check",
    "DashScope (Qwen)": r"inappropriate content|data.?inspection",
    "DeepSeek, Moonshot": r"content exists risk|considered high risk",
    "Zhipu (GLM), MiniMax, Volcengine": r"敏感|new_sensitive|sensitive (information|content)",
    "OpenRouter": r"requires moderation|input was flagged",
}
_ANY_FILTERED = any_of(FILTERED)


def tells_filtered(said: str) -> bool:
    """Say whether a filter refuses what stands in the prompt: asked again, it refuses it again."""
    return bool(_ANY_FILTERED.search(said))


_NO_TOOLS_STATUSES = {400, 404, 422, 500, 501}
"""Some gateways answer 500 for it."""

_TOOLS = r"(tools?|functions?)([ _-]?(calls?|calling|use|choice))?"


NO_TOOLS: Wordings = {
    "Ollama, DeepSeek, Together": r"(does not|doesn't|do not|cannot|not) (currently )?support (the )?"
    rf"['\"`\[]*{_TOOLS}\b",
    "SiliconFlow, Groq, Perplexity": rf"(?<!multiple )(?<!parallel )\b{_TOOLS}['\"`]* "
    r"(is|are) (not|un)[ -]?(currently )?(supported|available|enabled|allowed)",
    "OpenRouter": r"no endpoints found that support tool use",
    "vLLM": r"requires --enable-auto-tool-choice|--tool-call-parser",
    "llama.cpp": r"(tools|tool_choice) param requires --jinja",
    "LiteLLM": r"does not support parameters: \[[^\]]*['\"]tools['\"]",
    "OpenAI's older models, gateways": r"(unrecognized|unknown|unsupported|unexpected|invalid) (request )?"
    r"(argument|parameter|field|property)"
    r"[^.]{0,20}?:? ['\"`\[]*(tools|functions)\b",
    "servers that check their fields": r"\b(tools|functions)\b['\"`\]\)]*[:,]? ['\"]?"
    r"(extra (fields|inputs) (are )?not permitted|is not permitted)",
    "others": r"\bno tools\b|不支持.{0,8}(工具|函数|tool|function)",
}

_ANY_NO_TOOLS = any_of(NO_TOOLS)


def tells_no_tools(status: int | None, said: str) -> bool:
    """Say whether a refusal means that the model knows no tools at all."""
    return status in _NO_TOOLS_STATUSES and bool(_ANY_NO_TOOLS.search(said))
