"""What the forms show, and that code and YAML say the same."""

from pathlib import Path
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from provider.credentials import DEFAULT_CONTEXT_SIZE, Credentials
from provider.engine.prompt import take_markers, to_openai
from provider.errors import Refused
from provider.settings import NodeSettings
from provider.upstream.request import base_request
from provider.upstream.vendors import VENDORS
from tools.marker import marker_for

ROOT = Path(__file__).parents[2]
PROVIDER = yaml.safe_load((ROOT / "provider/clawback.yaml").read_text())
MAIN, LIGHT = (yaml.safe_load((ROOT / f"provider/models/llm/{name}.yaml").read_text()) for name in ("main", "light"))
MANIFEST = yaml.safe_load((ROOT / "manifest.yaml").read_text())
RULES = {rule["name"]: rule for rule in MAIN["parameter_rules"]}
FORMS = ["provider_credential_schema", "model_credential_schema"]
KINDS = {"bool": "boolean", "int": "int", "float": "float", "str": "string", "Literal": "string"}


def own_settings() -> dict[str, FieldInfo]:
    return {name: field for name, field in NodeSettings.model_fields.items() if field.default is not None}


def test_the_parameters_stand_in_one_file_and_all_else_is_the_same() -> None:
    """What Dify is told of both: `test_plugin`."""
    assert "parameter_rules" not in LIGHT
    own = {"model", "label", "parameter_rules"}
    assert {key: MAIN[key] for key in MAIN if key not in own} == {key: LIGHT[key] for key in LIGHT if key not in own}


def test_every_parameter_of_the_form_is_read_and_every_one_that_is_read_is_on_the_form() -> None:
    assert set(RULES) == set(NodeSettings.model_fields)
    assert not any(rule["required"] for rule in RULES.values())


@pytest.mark.parametrize("name", list(own_settings()))
def test_the_form_shows_the_default_that_holds(name: str) -> None:
    assert RULES[name]["default"] == own_settings()[name].default
    assert type(RULES[name]["default"]) is type(own_settings()[name].default)


@pytest.mark.parametrize("name", ["max_tool_call_rounds", "callback_wait_seconds"])
def test_the_form_has_the_bounds_that_hold(name: str) -> None:
    for bound in (RULES[name]["min"], RULES[name]["max"]):
        assert getattr(NodeSettings.read({name: bound}), name) == bound
    for beyond in (RULES[name]["min"] - 1, RULES[name]["max"] + 1):
        with pytest.raises(Refused, match=name):
            NodeSettings.read({name: beyond})


@pytest.mark.parametrize("mode", RULES["tool_call_mode"]["options"])
def test_every_mode_on_the_form_is_one(mode: str) -> None:
    assert NodeSettings.read({"tool_call_mode": mode}).tool_call_mode == mode


def test_no_parameter_uses_a_template() -> None:
    """The SDK's template of response_format rewrites prompts, and its others set defaults of their own."""
    assert not any("use_template" in rule for rule in RULES.values())
    assert not {"JSON", "XML"} & set(RULES["response_format"]["options"])


def texts(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every label, help, placeholder and description."""
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        here = f"{path}.{key}"
        if key in {"label", "help", "placeholder", "description"}:
            found.append((here, inner))
        found += texts(inner, here)
    return found


@pytest.mark.parametrize(
    ("path", "text"),
    texts(PROVIDER, "provider") + texts(MAIN, "main") + texts(LIGHT, "light") + texts(MANIFEST, "manifest"),
)
def test_every_text_is_there_in_both_languages(path: str, text: dict[str, str]) -> None:
    assert text["en_US"].isascii() or "…" in text["en_US"], path
    assert text["zh_Hans"], path
    if path.endswith((".help", ".description")):
        assert any("\u4e00" <= char <= "\u9fff" for char in text["zh_Hans"]), path


SECRETS = {name for name, field in Credentials.model_fields.items() if field.annotation is SecretStr}


@pytest.mark.parametrize("form", FORMS)
def test_every_field_has_its_texts_and_is_read(form: str) -> None:
    fields = PROVIDER[form]["credential_form_schemas"]
    for field in fields:
        assert {"label", "help"} <= field.keys()
        assert ("placeholder" in field) == (field["type"] != "select")
        assert (field["type"] == "secret-input") == (field["variable"] in SECRETS)
    read = set(Credentials.model_fields) - ({"upstream_model_light"} if form == "model_credential_schema" else set())
    assert {field["variable"] for field in fields} == read
    [size] = [field["default"] for field in fields if field["variable"] == "context_size"]
    assert int(size) == DEFAULT_CONTEXT_SIZE == MAIN["model_properties"]["context_size"]


@pytest.mark.parametrize("form", FORMS)
def test_dify_takes_no_more_than_32_fields(form: str) -> None:
    assert len(PROVIDER[form]["credential_form_schemas"]) <= 32


SELECTS = [field for field in PROVIDER[FORMS[0]]["credential_form_schemas"] if field["type"] == "select"]


@pytest.mark.parametrize(
    ("name", "value"), [(field["variable"], option["value"]) for field in SELECTS for option in field["options"]]
)
def test_every_choice_of_a_form_is_one(name: str, value: str) -> None:
    assert getattr(Credentials.read({name: value}), name) == value


@pytest.mark.parametrize("field", SELECTS, ids=lambda field: field["variable"])
def test_every_choice_that_there_is_is_on_the_form(field: dict[str, Any]) -> None:
    """What a form does not list cannot be chosen; a value that is none is refused with the field's name."""
    name, listed = field["variable"], {option["value"] for option in field["options"]}
    if name == "upstream_vendor":
        assert listed == {"auto", "other", *(vendor.name for vendor in VENDORS)}
    elif name != "price_currency":
        union = Credentials.model_fields[name].annotation
        kinds = get_args(union) if get_origin(union) is Union else [union]
        assert listed == {value for kind in kinds for value in get_args(kind)}
    with pytest.raises(Refused, match=name):
        Credentials.read({name: "nonsense"})


@pytest.mark.parametrize("form", FORMS)
def test_an_untouched_form_is_the_default(form: str) -> None:
    shown = {field["variable"]: field.get("default") for field in PROVIDER[form]["credential_form_schemas"]}
    assert Credentials.read(shown) == Credentials()


@pytest.mark.parametrize("rule", MAIN["parameter_rules"], ids=lambda rule: rule["name"])
def test_every_parameter_has_its_texts(rule: dict[str, Any]) -> None:
    assert {"label", "help"} <= rule.keys()


def test_only_a_few_fields_are_required() -> None:
    required = {
        form: {f["variable"] for f in PROVIDER[form]["credential_form_schemas"] if f["required"]} for form in FORMS
    }
    assert required == {
        "provider_credential_schema": {"upstream_model"},
        "model_credential_schema": set(),
    }


# Reading


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        (" https://api.example.com/v1/ ", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("http://localhost:11434/v1//", "http://localhost:11434/v1"),
        ("https://x.test/gpt/chat/completions?api-version=1", "https://x.test/gpt?api-version=1"),
        ("", ""),
        (None, ""),
    ],
)
def test_addresses(typed: str | None, read: str) -> None:
    assert Credentials.read({"upstream_base_url": typed}).upstream_base_url == read


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"upstream_base_url": "api.example.com"}, "upstream_base_url"),
        ({"bridge_url": "ftp://x"}, "bridge_url"),
        ({"context_size": "0"}, "context_size"),
        ({"context_size": "big"}, "context_size"),
        ({"max_output_tokens": "-1"}, "max_output_tokens"),
        ({"extra_headers": "just words"}, "extra_headers"),
        ({"extra_headers": "A: b\rC"}, "extra_headers"),
        ({"upstream_api_key": "sk-secret\u201d"}, "upstream_api_key"),
        ({"upstream_api_key": "sk-sec\nret"}, "upstream_api_key"),
        ({"bridge_token": "sk-secret\u200b"}, "bridge_token"),
        ({"extra_body": "[1]"}, "extra_body"),
        ({"extra_body": "{"}, "extra_body"),
        ({"connect_seconds": "0"}, "connect_seconds"),
        ({"first_token_seconds": "soon"}, "first_token_seconds"),
        ({"idle_seconds": "-1"}, "idle_seconds"),
        ({"retries": "11"}, "retries"),
        ({"proxy_url": "proxy:3128"}, "proxy_url"),
        ({"ca_certificate": "trust me"}, "ca_certificate"),
        ({"ca_certificate": "-----BEGIN CERTIFICATE----- AAAA -----END CERTIFICATE-----"}, "ca_certificate"),
        ({"input_price": "cheap"}, "input_price"),
        ({"output_price": "-1"}, "output_price"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(form: dict[str, str], named: str) -> None:
    with pytest.raises(Refused, match=named):
        Credentials.read({"upstream_api_key": "secret"} | form)


def test_secrets_are_in_no_repr_and_no_refusal() -> None:
    form = dict.fromkeys(SECRETS, "s3cret") | {"extra_headers": "X-Key: s3cret", "proxy_url": "http://me:s3cret@proxy"}
    assert "s3cret" not in repr(Credentials.read(form))
    for broken in ({"extra_headers": "s3cret"}, {"proxy_url": "s3cret"}, {"extra_headers": '{"a": "s3cret\\n"}'}):
        with pytest.raises(Refused) as refused:
            Credentials.read(form | broken)
        assert "s3cret" not in str(refused.value)


def test_what_is_asked_for_comes_before_the_query() -> None:
    form = Credentials.read({"upstream_base_url": "https://x.test/gpt?api-version=1"})
    assert form.address("chat/completions") == "https://x.test/gpt/chat/completions?api-version=1"


def test_every_secret_is_kept_out_of_texts() -> None:
    form = {
        "upstream_api_key": "k",
        "bridge_token": "t",
        "extra_headers": "A: h; B: Token i",
        "proxy_url": "http://u:p%21@x",
    }
    assert set(Credentials.read(form).secrets) == {"k", "t", "h", "Token i", "i", "p!"}


@pytest.mark.parametrize(
    "text",
    ["X-Team: blue\nX-Url: http://x/y", "X-Team: blue; X-Url: http://x/y", '{"X-Team": "blue", "X-Url": "http://x/y"}'],
)
def test_headers_as_people_write_them(text: str) -> None:
    assert Credentials.read({"extra_headers": text}).headers == {"X-Team": "blue", "X-Url": "http://x/y"}


def test_the_same_upstream_has_one_identity_and_another_key_another() -> None:
    form = {"upstream_base_url": "http://x/v1", "upstream_api_key": "a", "upstream_model": "m"}
    first = Credentials.read(form).identity("main")
    assert first == Credentials.read(form | {"bridge_token": "t"}).identity("main")
    for other in ({"upstream_api_key": "b"}, {"upstream_model": "n"}, {"extra_headers": "A: b"}):
        assert Credentials.read(form | other).identity("main") != first


# Requests


def test_only_what_is_set_is_sent() -> None:
    assert base_request("m", NodeSettings(), None) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent = base_request("m", NodeSettings(temperature=0, seed=0, reasoning_effort="low"), ["END"])
    assert (sent["temperature"], sent["seed"], sent["reasoning_effort"], sent["stop"]) == (0, 0, "low", ["END"])


@pytest.mark.parametrize(
    ("kind", "schema", "sent"),
    [
        ("text", None, None),
        ("json_object", None, {"type": "json_object"}),
        ("json_schema", '{"type":"object"}', {"name": "answer", "schema": {"type": "object"}}),
        ("json_schema", '{"name":"n","strict":true,"schema":{}}', {"name": "n", "strict": True, "schema": {}}),
    ],
)
def test_response_formats(kind: str, schema: str | None, sent: Any) -> None:
    request = base_request("m", NodeSettings(response_format=kind, json_schema=schema), None)
    expected = sent if kind != "json_schema" else {"type": "json_schema", "json_schema": sent}
    assert request.get("response_format") == expected


@pytest.mark.parametrize("schema", [None, "", "{", "[]"])
def test_a_schema_that_is_none(schema: str | None) -> None:
    with pytest.raises(Refused, match="json_schema"):
        base_request("m", NodeSettings(response_format="json_schema", json_schema=schema), None)


# Prompts


def medium(kind: str, **fields: Any) -> dict[str, Any]:
    given = {"type": kind, "format": "x", "base64_data": "aGk=", "url": "", "mime_type": f"{kind}/x", "filename": ""}
    return given | fields


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "data": "hi"}, {"type": "text", "text": "hi"}),
        (
            medium("image", detail="high"),
            {"type": "image_url", "image_url": {"url": "data:image/x;base64,aGk=", "detail": "high"}},
        ),
        (
            medium("image", url="https://x/y.png"),
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "auto"}},
        ),
        (medium("audio"), {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "x"}}),
        (medium("video"), {"type": "video_url", "video_url": {"url": "data:video/x;base64,aGk="}}),
        (
            medium("document", filename="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:document/x;base64,aGk="}},
        ),
    ],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert to_openai([{"role": "user", "content": [part]}])[0]["content"] == [expected]


def test_calls_and_results() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    messages = to_openai(
        [
            {"role": "assistant", "content": "", "tool_calls": [call], "name": None},
            {"role": "tool", "content": [{"type": "text", "data": "out"}], "tool_call_id": "c", "name": "f"},
            {"role": "assistant", "content": None, "tool_calls": []},
        ]
    )
    assert messages[0]["content"] is None
    assert messages[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert messages[1] == {"role": "tool", "tool_call_id": "c", "content": "out"}
    assert messages[2] == {"role": "assistant", "content": ""}


def test_markers_are_taken_out_of_text_and_parts() -> None:
    first, last = marker_for("run11111111"), marker_for("run22222222")
    messages = [
        {"role": "system", "content": f"Be brief. {first}"},
        {
            "role": "user",
            "content": [{"type": "text", "text": f"Do it {last}"}, {"type": "image_url", "image_url": {}}],
        },
        {"role": "assistant", "content": None},
    ]
    cleaned, markers = take_markers(messages)
    assert markers == ["run22222222", "run11111111"]
    assert cleaned[0]["content"] == "Be brief."
    assert cleaned[1]["content"][0] == {"type": "text", "text": "Do it"}
    assert cleaned[2]["content"] is None
