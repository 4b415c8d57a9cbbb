"""How upstreams say that a model knows no tools: a row of data for each wording.

A refusal that only mentions tools is something else: a result without its call, a schema that is unsound, a name.
"""

from provider.upstream.wordings import Wording, any_of

_STATUSES = {400, 404, 422, 500, 501}
"""Some gateways answer 500 for it."""

_TOOLS = r"(tools?|functions?)([ _-]?(calls?|calling|use|choice))?"


WORDINGS = (
    Wording(
        "Ollama, DeepSeek, Together",
        rf"(does not|doesn't|do not|cannot|not) (currently )?support (the )?['\"`\[]*{_TOOLS}\b",
        "registry.ollama.ai/library/gemma:2b does not support tools",
    ),
    Wording(
        "SiliconFlow, Groq, Perplexity",
        rf"\b{_TOOLS}['\"`]* (is|are) (not|un)[ -]?(currently )?(supported|available|enabled|allowed)",
        "Function call is not supported for this model.",
    ),
    Wording("OpenRouter", r"no endpoints found that support tool use", "No endpoints found that support tool use."),
    Wording(
        "vLLM",
        r"requires --enable-auto-tool-choice|--tool-call-parser",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    ),
    Wording("llama.cpp", r"(tools|tool_choice) param requires --jinja", "tools param requires --jinja flag"),
    Wording(
        "LiteLLM",
        r"does not support parameters: \[[^\]]*['\"]tools['\"]",
        "litellm.UnsupportedParamsError: ollama does not support parameters: ['tools', 'tool_choice']",
    ),
    Wording(
        "OpenAI's older models, gateways",
        r"(unrecognized|unknown|unsupported|unexpected|invalid) (request )?(argument|parameter|field|property)"
        r"[^.]{0,20}?:? ['\"`\[]*(tools|functions)\b",
        "Unrecognized request argument supplied: tools",
    ),
    Wording(
        "servers that check their fields",
        r"\b(tools|functions)\b['\"`\]\)]*[:,]? ['\"]?(extra (fields|inputs) (are )?not permitted|is not permitted)",
        "body -> tools: Extra inputs are not permitted",
    ),
    Wording("others", r"\bno tools\b|不支持.{0,8}(工具|函数|tool|function)", "该模型不支持工具调用"),
)

_ANY = any_of(WORDINGS)


def tells_no_tools(status: int | None, said: str) -> bool:
    """Say whether a refusal means that the model knows no tools at all."""
    return status in _STATUSES and bool(_ANY.search(said))
