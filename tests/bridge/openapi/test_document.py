"""The bridge describes all that it serves, with the models that check what comes in."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict

from bridge.api.openai.chat_request import ChatRequest
from bridge.api.openai.responses_request import ResponsesRequest
from bridge.api.openapi.document import EXAMPLES, described_routes, document, path_of_rule, routes
from bridge.api.openapi.sentences import sentences
from bridge.app import create_app
from bridge.config import parse


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    made = create_app(parse({"data_dir": str(tmp_path_factory.mktemp("openapi"))}))
    yield made
    made.extensions["clawback"].sweeper.stop()


@pytest.fixture(scope="module")
def described(app: Flask) -> dict[str, Any]:
    with app.app_context():
        return document(app)


def test_no_route_is_left_out(app: Flask, described: dict[str, Any]) -> None:
    served = {(path_of_rule(rule), method.lower()) for rule, method in routes(app)}
    told = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert served - told == set(), "say of these views what they do: @operation(...)"
    assert told - served == set()


def test_every_route_that_takes_a_body_says_which_and_shows_one(app: Flask) -> None:
    silent = [
        (rule.rule, method)
        for rule, method, said in described_routes(app)
        if method in {"POST", "PUT"} and said.body is None and not rule.endpoint.startswith("page.")
    ]
    # What there is to say stands in the path and in the query.
    assert all(rule.endswith(("/beat", "/cancel", "/suspend", "/expire")) for rule, _ in silent), silent
    bodies = {said.body.__name__ for _, _, said in described_routes(app) if said.body}
    assert bodies - set(EXAMPLES) == set()


def test_every_example_is_what_its_schema_asks_for(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    for name, example in EXAMPLES.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(example)] == [], name


class Base(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    first: int
    """The first."""
    silent: int = 0


class Derived(Base):
    """No field's sentence."""

    first: int = 1
    """The first,
    once more."""
    second: list[str] = []
    """
    The second.
    """
    _kept: int = 2


@pytest.mark.parametrize("model", [Base, Derived])
def test_a_field_s_sentence_is_the_one_that_pydantic_reads(model: type[BaseModel]) -> None:
    said = {name: field.description for name, field in model.model_fields.items() if field.description}
    assert sentences(model) == said


@pytest.mark.parametrize("model", [ChatRequest, ResponsesRequest])
def test_every_field_of_a_request_has_a_sentence_and_the_document_says_it(
    model: Any, described: dict[str, Any]
) -> None:
    said = sentences(model)
    assert set(model.model_fields) - set(said) == set()
    properties = described["components"]["schemas"][model.__name__]["properties"]
    assert {properties[field.alias or name]["description"] for name, field in model.model_fields.items()} == {
        *said.values()
    }


def test_every_schema_is_sound_and_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    found = set(references(described))
    assert {f"#/components/schemas/{name}" for name in schemas} >= found


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def test_what_needs_a_token_says_whose(described: dict[str, Any]) -> None:
    open_to_all = {
        path
        for path, methods in described["paths"].items()
        for told in methods.values()
        if not told["security"] and told["tags"] != ["page"]
    }
    assert open_to_all == {"/healthz", "/readyz", "/openapi.json"}


def test_it_is_served_to_everyone(app: Flask, described: dict[str, Any]) -> None:
    answer = app.test_client().get("/openapi.json")
    assert (answer.status_code, answer.get_json()) == (200, described)


def test_another_method_is_told_which_there_are(app: Flask) -> None:
    answer = app.test_client().patch("/healthz")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.get_json()["error"]["type"] == "invalid_request_error"
