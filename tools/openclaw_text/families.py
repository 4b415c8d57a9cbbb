"""Prompt families: in which form a model has learned to call tools, told from its name."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ResultForm:
    """How results are shown to a model: `item` for each, between `before` and `after`.

    `item` may hold `{name}`, `{id}` and `{output}`. `closer` is what ends an output; an output never shows it whole.
    """

    item: str
    closer: str
    before: str = ""
    after: str = ""
    between: str = "\n"


@dataclass(frozen=True, slots=True)
class Family:
    """Models that share a form. `call_format` is the name of a call format; `results` is how results come back.

    `arguments`: one JSON object, plain text whose type the schema tells, or plain text marked as text or JSON.
    """

    name: str
    call_format: str
    results: ResultForm
    arguments: Literal["json", "plain", "marked"] = "json"


_TAGS = ResultForm('<tool_response name="{name}">\n{output}\n</tool_response>', "</tool_response>")
_MISTRAL = ResultForm("[TOOL_RESULTS]{name}[TOOL_CONTENT]{output}[/TOOL_RESULTS]", "[/TOOL_RESULTS]")
_DEEPSEEK = ResultForm(
    "<｜tool▁output▁begin｜>{output}<｜tool▁output▁end｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
)
_DSML = ResultForm("<result>{output}</result>", "</result>", "<function_results>\n", "\n</function_results>")
_KIMI = ResultForm("## Return of {id}\n{output}", "", between="\n\n")

HERMES = Family("hermes", "hermes_json", _TAGS)
QWEN_CODER = Family("qwen_coder", "hermes_fn", _TAGS, "plain")
LLAMA = Family("llama", "bare_json", _TAGS)
MISTRAL = Family("mistral", "mistral", _MISTRAL)
DEEPSEEK_V3 = Family("deepseek_v3", "deepseek_v3", _DEEPSEEK)
DEEPSEEK_V31 = Family("deepseek_v31", "deepseek_v31", _DEEPSEEK)
DEEPSEEK = Family("deepseek", "deepseek_dsml", _DSML, "marked")
GLM = Family("glm", "glm_xml", _TAGS, "plain")
KIMI = Family("kimi", "kimi_k2", _KIMI)
GENERIC = Family("generic", "hermes_json", _TAGS)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        HERMES,
        QWEN_CODER,
        LLAMA,
        MISTRAL,
        DEEPSEEK_V3,
        DEEPSEEK_V31,
        DEEPSEEK,
        GLM,
        KIMI,
        GENERIC,
    )
}
"""Every family by its name."""

# The first pattern found in a model's name decides. A fine-tune names its base model too, so tuners stand before
# bases, and what was tuned without any tool format stands first of all.
# Source: the chat templates and model cards published with these models.
_NAMES: tuple[tuple[str, Family], ...] = (
    (r"distill|deepseek-r1:[\d.]+b|deepseek-(llm|coder(?!-?v2))", GENERIC),
    (r"chatglm|glm-?[23]|glm-?4(v|:|$|-(?![5-9](-|$)))", GENERIC),
    (r"hermes", HERMES),
    (r"qwen-?3[.-]?[5-9]|qwen-?3-?coder|nemotron-?3|step-?3[.p]5|mimo|seed-?oss", QWEN_CODER),
    (r"qwen|qwq|ernie-?4[.p]5|smollm-?3", HERMES),
    (r"mistral|mixtral|ministral|devstral|magistral|codestral|pixtral|voxtral", MISTRAL),
    (r"deepseek.*v3[.p]1|deepseek-?3[.p]1", DEEPSEEK_V31),
    (r"deepseek.*(v2|v3(?![.p]?[2-9])|r1)", DEEPSEEK_V3),
    (r"deepseek", DEEPSEEK),
    (r"glm", GLM),
    (r"kimi", KIMI),
    (r"(?<![a-z])llama-?v?[34]", LLAMA),
)
_COMPILED = tuple((re.compile(pattern), family) for pattern, family in _NAMES)


def family_of(model_name: str, override: str | None = None) -> Family:
    """Return the family of an upstream model, or the one that `override` names.

    `model_name` may carry a path (`@cf/meta/llama-3.1-8b-instruct`, `ollama/qwen3:8b`): its last part is asked first.
    An unknown model is `generic`. Raises ValueError where `override` names no family.
    """
    if override:
        if override not in FAMILIES:
            raise ValueError(f"there is no prompt family {override!r}: use one of {', '.join(FAMILIES)}")
        return FAMILIES[override]
    name = re.sub(r"[\s_]+", "-", model_name.strip().lower())
    for part in (name.rsplit("/", 1)[-1], name):
        for pattern, family in _COMPILED:
            if pattern.search(part):
                return family
    return GENERIC
