"""The part of a system message that teaches a model the tools and how to call them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.choices import ToolChoice, forced_name
from tools.openclaw_text.example import example_call
from tools.openclaw_text.families import Family
from tools.openclaw_text.language import Language
from tools.openclaw_text.phrases import PHRASES, Phrases
from tools.openclaw_text.schema_parts import Schema, name_of
from tools.openclaw_text.signatures import definitions
from tools.openclaw_text.writer import kimi_id, write_calls, write_results

DEFAULT_BUDGET_TOKENS = 8000
"""What the definitions may cost where nobody says how much: a quarter of a context of 32,000 tokens."""


@dataclass(frozen=True, slots=True)
class PromptText:
    """Text for the system message, and what it does not tell the model."""

    text: str
    warnings: tuple[str, ...] = ()


def system_text(
    tools: Sequence[Schema],
    tool_choice: ToolChoice | None,
    family: Family,
    language: Language = "en",
    budget_tokens: int | None = DEFAULT_BUDGET_TOKENS,
    parallel: bool = True,
) -> PromptText:
    """Return the definitions of `tools` (OpenAI's form), the form of a call with an example, and the rules.

    `budget_tokens` is for the definitions alone; None is no limit. A forced tool is shown without the others, and
    `none` without any. There is nothing to say where there are no tools.
    """
    phrases = PHRASES[language]
    if not tools:
        return PromptText("")
    if tool_choice == "none":
        return PromptText(phrases.none)
    forced = forced_tool(tools, tool_choice)
    shown = [forced] if forced is not None else tools
    described = definitions(shown, budget_tokens)
    parts = [
        phrases.tools,
        described.text,
        phrases.calling,
        *_form(shown, family, phrases),
        "\n".join(f"- {rule}" for rule in _rules(forced, tool_choice, family, phrases, parallel)),
    ]
    return PromptText("\n\n".join(parts), tuple(described.warnings(budget_tokens)))


def forced_tool(tools: Sequence[Schema], tool_choice: ToolChoice | None) -> Schema | None:
    """Return the tool that `tool_choice` names, if it names one of `tools`."""
    name = forced_name(tool_choice)
    return next((tool for tool in tools if name_of(tool) == name), None) if name is not None else None


def _form(tools: Sequence[Schema], family: Family, phrases: Phrases) -> Iterable[str]:
    name, arguments = example_call(tools)
    intro = phrases.json_form if family.arguments == "json" else phrases.plain_form
    yield intro.replace("{name}", name)
    yield write_calls([(name, arguments)], family, tools)
    yield phrases.result
    yield write_results([(name, kimi_id(name, 0), phrases.output.replace("{name}", name), False)], family)["content"]


def _rules(
    forced: Schema | None, tool_choice: ToolChoice | None, family: Family, phrases: Phrases, parallel: bool
) -> Iterable[str]:
    yield phrases.arguments[family.arguments]
    yield phrases.declared_only
    yield phrases.many_calls.replace("{how}", phrases.many[family.call_format]) if parallel else phrases.one_call
    yield phrases.stop
    yield phrases.errors
    if forced is not None:
        yield phrases.named.replace("{name}", name_of(forced))
    else:
        yield phrases.required if tool_choice == "required" else phrases.no_call
