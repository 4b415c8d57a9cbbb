"""The page of the provider's forms, parameters and vendors, and where each field of the official plugin is here."""

from pathlib import Path
from typing import Any

import yaml

from demo.scripted.quirks import Quirks, Rule
from demo.scripted.vendors import QUIRKS
from provider.upstream.lessons import KNOWN
from provider.upstream.vendors import VENDORS, Vendor, vendor_named

ROOT = Path(__file__).resolve().parents[2]

# Every field of langgenius/openai_api_compatible 0.0.63 that its form shows for an LLM; what is here instead, by name;
# and what differs. Source: models/openai_api_compatible in langgenius/dify-official-plugins.
OFFICIAL_FIELDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("model", ("upstream_model",), "The model's name in Dify; upstream_model where the upstream knows it by another."),
    ("display_name", ("upstream_model",), "Name the model in Dify as you like, and set upstream_model."),
    ("api_key", ("upstream_api_key",), "The same: empty sends no Authorization header."),
    ("endpoint_url", ("upstream_base_url",), "Optional: a vendor brings its address. A pasted endpoint is shortened."),
    ("endpoint_model_name", ("upstream_model",), "The same."),
    ("mode", ("completion_mode",), "The same."),
    ("context_size", ("context_size",), "128,000 instead of 4,096 where nothing is set."),
    ("max_tokens_to_sample", ("max_output_tokens",), "No limit instead of 4,096; a larger request is reduced to it."),
    ("agent_thought_support", ("reasoning_support",), "Says how reasoning is switched, not only whether."),
    ("web_search_support", ("extra_body",), "Replaced: each vendor's switch is a field of extra_body, form or node."),
    ("compatibility_mode", ("reasoning_support", "extra_body"), "Replaced: nothing unasked is sent to any server."),
    ("token_param_name", ("token_field",), "The same; auto also knows o4 and names such as openai/gpt-5."),
    ("user_identity_support", ("send_user",), "The same; a vendor's other name for the field is known."),
    ("stream_include_usage", ("streaming",), "The same; a server that refuses it is asked again without."),
    ("function_calling_type", ("tool_support",), "Found out instead of off; in_text for models that know no tools."),
    ("stream_function_calling", ("tool_support",), "not_streamed says the opposite; found out where nothing is set."),
    ("vision_support", ("vision_support",), "Found out instead of off."),
    ("video_support", ("video_support",), "Sent as video_url, not as an image."),
    ("audio_support", ("audio_support",), "Sent as input_audio, not as an image; DashScope's form of it is known."),
    ("document_support", ("document_support",), "The same `file` parts; Zhipu's file_url is known."),
    (
        "structured_output_support",
        ("structured_output_support",),
        "Found out instead of off, declared to Dify, and sent as json_schema alone: the prompt stays as it is.",
    ),
    ("stream_mode_auth", ("streaming",), "Replaced: validation asks as nodes do, streamed unless this is off."),
    (
        "stream_mode_delimiter",
        (),
        "Not needed: events are read as their standard says, and servers that leave out the empty line as well.",
    ),
)

OFFICIAL_PARAMETERS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("temperature", ("temperature",), "Not sent unless the node sets it."),
    ("top_p", ("top_p",), "Not sent unless the node sets it."),
    ("frequency_penalty", ("frequency_penalty",), "The same."),
    ("presence_penalty", ("presence_penalty",), "The same."),
    ("max_tokens", ("max_tokens",), "Off, the upstream decides, instead of 512."),
    ("response_format", ("response_format",), "The same."),
    ("json_schema", ("json_schema",), "The same."),
    ("enable_thinking", ("thinking",), "Sent in the vendor's dialect."),
    (
        "reasoning_format",
        ("extra_body",),
        "Replaced: reasoning is read from every field and tag; llama.cpp's own switch goes into extra_body.",
    ),
    ("reasoning_effort", ("reasoning_effort",), "Also none, minimal and xhigh."),
    ("web_search", ("extra_body",), "Replaced: the vendor's switch, for one node."),
)

# What its code reads and its form does not show.
OFFICIAL_HIDDEN: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("extra_headers", ("extra_headers",), "On the form, kept secret, and for one node, with variables."),
    ("input_price, output_price", ("input_price", "output_price"), "On the form."),
    ("unit, currency", ("price_currency",), "On the form; prices are for a million tokens."),
    ("temperature, top_p and penalties", ("extra_body",), "Defaults for every node go into the form's extra_body."),
    ("validate_credentials_max_tokens", (), "Not needed: validation asks for 16 tokens, which every server grants."),
)

NO_COUNTERPART = (
    "upstream_vendor",
    "upstream_model_light",
    "tool_choice_support",
    "connect_seconds",
    "first_token_seconds",
    "idle_seconds",
    "retries",
    "proxy_url",
    "ca_certificate",
    "bridge_url",
    "bridge_token",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "parallel_tool_calls",
    "tool_choice",
)
"""What is here alone and belongs to any OpenAI-compatible provider. The parameters of callbacks come beside it."""


def provider_page(note: str) -> str:
    """Return the page."""
    provider = _yaml("provider/clawback.yaml")
    forms = [provider[name]["credential_form_schemas"] for name in ("provider_credential_schema", _MODEL_FORM)]
    return _PAGE.format(
        note=note,
        credentials="\n".join(_field(field, forms) for field in _all(forms)),
        parameters="\n".join(map(_parameter, _yaml("provider/models/llm/main.yaml")["parameter_rules"])),
        vendors="\n".join(map(_vendor, VENDORS)),
        lessons=_lessons(),
        played="\n".join(_played(name, quirks) for name, quirks in QUIRKS.items()),
        fields=_beside(OFFICIAL_FIELDS),
        parameters_beside=_beside(OFFICIAL_PARAMETERS),
        hidden=_beside(OFFICIAL_HIDDEN),
        more=", ".join(f"`{name}`" for name in NO_COUNTERPART),
    )


_MODEL_FORM = "model_credential_schema"


def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def _all(forms: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Every field once, as the first form has it."""
    first, second = forms
    known = {field["variable"] for field in first}
    return [*first, *(field for field in second if field["variable"] not in known)]


def _field(field: dict[str, Any], forms: list[list[dict[str, Any]]]) -> str:
    kinds = {"secret-input": "secret", "text-input": "text"}
    options = [f"`{option['value']}`" for option in field.get("options", ())]
    kind = kinds.get(field["type"]) or ("vendor" if field["variable"] == "upstream_vendor" else ", ".join(options))
    required = " (required there)" if field["required"] else ""
    alone = "" if all(any(each["variable"] == field["variable"] for each in form) for form in forms) else " Only for "
    alone += "`main` and `light`." if alone else ""
    default = f"`{field['default']}`" if field.get("default") else ""
    return f"| `{field['variable']}`{required} | {kind} | {default} | {field['help']['en_US']}{alone} |"


def _parameter(rule: dict[str, Any]) -> str:
    kind = ", ".join(f"`{option}`" for option in rule.get("options", ())) or rule["type"]
    bounds = f" from {rule['min']} to {rule['max']}" if "min" in rule else ""
    default = "" if rule.get("default") in (None, "") else f"`{str(rule['default']).lower()}`"
    return f"| `{rule['name']}` | {kind}{bounds} | {default} | {rule['help']['en_US']} |"


def _vendor(vendor: Vendor) -> str:
    structure = f"`{vendor.structure}`" if vendor.structure else ""
    expected = {"tools": vendor.tools, "tool_choice": vendor.tool_choice, "images": vendor.vision}
    without = ", ".join(name for name, there in expected.items() if not there)
    known = ", ".join([*vendor.hosts, *([f"port {vendor.port}"] if vendor.port else [])])
    lessons = ", ".join(f"`{name}`" for name in vendor.lessons)
    return f"| {vendor.label} | {known} | `{vendor.thinking}` | {structure} | {without} | {lessons} |"


_LESSONS = {
    "reasoning_content": "every answer has a thought; a blank stands for one that nobody kept",
    "thought_signature": "the first call of a round has a signature; Google's own placeholder stands for a lost one",
    "system": "instructions begin the first user message",
    "system_first": "a system message amid the dialogue is the user's",
    "alternating": "user and assistant take turns",
    "with_user": "the user begins, and no answer is the last; words of the system alone are the user's",
    "answer_between": "an answer stands between a tool's result and a user",
    "images": "a note stands for an image",
    "strings": "every content is a string",
    "tool_names": "every result says which tool it is from",
    "content": "an empty content is a string, too",
    "call_ids": "ids of calls are nine letters and digits",
    "enable_thinking": "switched off where the answer comes whole",
    "json_word": "the format is asked for in words as well, where the prompt does not speak of JSON",
    "stream_options": "left out",
    "tool_choice": "left out; a reminder asks for what was chosen",
    "parallel_tool_calls": "left out; of several calls the first counts",
    "single_calls": "each call of a round, with its result, is a round of its own in the dialogue",
    "tools_kept": "a request that offers no tools any more has those of the dialogue's calls, described as gone",
    "typed": "every schema inside a tool's has a type",
    "objects": "an object without properties is asked for as text",
    "grammar": "tools' schemas have no bounds, patterns and formats; arguments are checked all the same",
    "described": "tools' schemas stand in their descriptions",
    "max_tokens": "called `max_completion_tokens`",
    "max_completion_tokens": "called `max_tokens`",
    "user": "left out",
    "stream": "the answer comes whole",
}
_MORE_LESSONS = {
    "descriptions": "a tool's description is no longer than the refusal allows",
    "some_images": "a note stands for all images but the last ones, so many as the refusal allows",
    "limit": "the limit on the answer is the number that the refusal names",
    "schema ...": "words of schemas that it names are said otherwise or left out; arguments are checked all the same",
    "inside ...": "a field of messages, calls or tools that it names is left out",
    "json_schema": "JSON without a schema; the schema is asked for in words, and the answer is held against it",
    "response_format": "the format is asked for in words, and the answer is held against it",
    "stop": "the answer ends here at the first stop word",
    "temperature, top_p, seed, ...": "the refused value is left out where a client asked for it; a node's is told of",
}


def _lessons() -> str:
    rows = {known.name: _LESSONS[known.name] for known in KNOWN} | _MORE_LESSONS
    return "\n".join(f"| `{name}` | {meaning} |" for name, meaning in rows.items())


_OTHER_NAMES = {"openai-reasoning": "openai", "azure": "openai", "lm-studio": "lm_studio"}


def _played(name: str, quirks: Quirks) -> str:
    """Return what the scripted upstream plays of one vendor."""
    entry = vendor_named(_OTHER_NAMES.get(name, name))
    known = ", ".join(f"`{lesson}`" for lesson in entry.lessons) if entry else ""
    refuses = [rule for rule in quirks.rules if rule.kind == "refuses"]
    others = [rule for rule in quirks.rules if rule.kind != "refuses"]
    return f"| {name} | {_said(refuses)} | {_said(others)} | {known} |"


def _said(rules: list[Rule]) -> str:
    return ", ".join(f"[{rule.what}]({rule.source}){_STANDING[rule.standing]}" for rule in rules)


_STANDING = {"documented": "", "reported": "\\*", "guessed": "?"}


def _beside(rows: tuple[tuple[str, tuple[str, ...], str], ...]) -> str:
    return "\n".join(
        f"| `{theirs}` | {', '.join(f'`{name}`' for name in ours)} | {differs} |" for theirs, ours, differs in rows
    )


_PAGE = """\
# The model provider

{note}
A URL, a key if the server needs one, and a model's name are enough. Everything else has a default, is known for the
vendor, or is detected when you save the credentials. What you set here always takes precedence.

## Credentials

The provider's own form sets up the models `main` and `light`, which is all that most people need. Each model that you
add with Add Model has a form of its own.

| field | what | default | |
|---|---|---|---|
{credentials}

## Parameters of a node

A parameter that is switched off in the node is not sent. The default is what Dify shows when you switch it on. Those
above `max_tool_call_rounds` are what most apps need; the others are for later.

| parameter | what | default | |
|---|---|---|---|
{parameters}

## Vendors

A vendor is recognised by its address, or chosen in `upstream_vendor`. "Structured output" is the strictest kind that
all its models accept. "Without" lists what is not expected of a model until it is detected. The last column lists
what is known in advance of its refusals.

| vendor | known by | reasoning | structured output | without | known lessons |
|---|---|---|---|---|---|
{vendors}

## What is learned from a refusal

When the server refuses a request, the plugin changes it and sends it again. It also changes all later requests of this
plugin process to the same address and model, unless the refusal is about this request alone, such as a schema that is
not valid or one image that cannot be read. The rows come from vendors' references and public reports of their errors;
this project has only seen those of the scripted upstream.

| lesson | from then on |
|---|---|
{lessons}

## What is played of each vendor

The scripted upstream of the tests imitates these vendors. Each is tested with one call, parallel calls, three rounds,
images in results, suspension and replay, a second turn, an Agent node and a refusal, streamed and whole. This project
has seen none of it on a live server: entries without a mark are documented, those with \\* were reported by users, and
those with ? are guessed and therefore not played. What is not known in advance is learned from the first refusal.

| vendor | refuses, or wants back | writes, or overlooks | known in advance |
|---|---|---|---|
{played}

One difference remains: Zhipu's refusal of an image does not mention images, so there the detection or the form keeps
them out. Models without tools get them as text.

## What is detected

When you save the credentials, the plugin sends a few tiny requests at the same time, for at most 20 s. It does so
once more when Dify asks for a model's features after a restart of the plugin. It detects whether the model calls
tools, streams its calls, obeys `tool_choice`, follows a JSON schema, sees images, counts tokens in its stream, and
reasons. What cannot be detected stays as in the vendor's row. Nothing is sent for what the form sets. Later, if a
server refuses `stream`, `stream_options`, `tool_choice`, `parallel_tool_calls`, `user` or the name of the token
limit, the request is sent again without it (or with the limit's other name), and so are all later requests.

## Beside the official plugin

This table has every field that `langgenius/openai_api_compatible` 0.0.63 shows for an LLM. For embeddings, reranking
and speech, use that plugin beside this one.

| its field | here | difference |
|---|---|---|
{fields}

Its parameters:

| its parameter | here | difference |
|---|---|---|
{parameters_beside}

What its code reads and its form does not show:

| its field | here | difference |
|---|---|---|
{hidden}

Only here: {more}, and the parameters of [callbacks](../quickstart.md).
"""
