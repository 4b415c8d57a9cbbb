"""Pages of other origins, and clients with the wrong base URL, are told what they need to know."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from bridge.app import create_app
from bridge.config import parse
from tools.tokens import hash_token

PAGE = "http://localhost:3000"
KEY = "clawback-client-test"


@pytest.fixture
def app(data_dir: Path) -> Iterator[Flask]:
    made = create_app(parse({"data_dir": str(data_dir), "tokens": {"client": hash_token(KEY)}}))
    yield made
    made.extensions["clawback"].sweeper.stop()


def preflight(app: Flask, path: str, origin: str = PAGE) -> TestResponse:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-lang",
    }
    return app.test_client().options(path, headers=asked)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/nothing", "/"])
def test_pages_may_not_ask_by_default(app: Flask, path: str) -> None:
    answer = preflight(app, path)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "cors_origins" in answer.get_data(as_text=True)


@pytest.mark.parametrize("origins", [[PAGE], ["*"]])
def test_pages_of_named_origins_may_ask_the_endpoint_alone(app: Flask, origins: list[str]) -> None:
    app.extensions["clawback"].services.config.cors_origins = origins
    allowed = preflight(app, "/v1/chat/completions")
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert allowed.headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-lang"
    assert preflight(app, "/operator/v1/runs").status_code == 403
    assert (preflight(app, "/v1/models", "http://other").status_code == 204) == (origins == ["*"])
    headers = {"Origin": PAGE, "Authorization": f"Bearer {KEY}"}
    listed = app.test_client().get("/v1/models", headers=headers)
    assert (listed.status_code, listed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "Origin" in listed.headers.getlist("Vary")
    # A page must be able to read why it was refused.
    refused = app.test_client().get("/v1/models", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, PAGE)


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/v1/chat/completions/",
        "/v1/v1/chat/completions",
        "/v1/chat/completion",
        "/api/v1/chat/completions",
        "/responses",
        "/v1/v1/responses",
        "/openai/deployments/x",
        "/api/chat",
        "/v1",
    ],
)
def test_a_wrong_path_is_told_the_base_url(app: Flask, path: str) -> None:
    answer = app.test_client().post(path, json={}, follow_redirects=False)
    assert answer.status_code in {404, 405}
    assert "the base URL for clients is http://localhost/v1" in answer.json["error"]["message"]


@pytest.mark.parametrize("path", ["/messages", "/v1/v1/messages", "/anthropic/v1/messages/count_tokens"])
def test_a_wrong_path_of_anthropic_s_api_is_told_its_own_base_url(app: Flask, path: str) -> None:
    answer = app.test_client().post(path, json={})
    assert answer.status_code == 404
    assert "clients is http://localhost, without /v1" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/completions", "use POST /v1/chat/completions"),
        ("/v1/embeddings", "embeddings are not offered"),
        ("/v1/responses/compact", "compaction is left to the client"),
        ("/v1/audio/transcriptions", "audio is not supported"),
    ],
)
def test_what_is_not_offered_is_said(app: Flask, path: str, words: str) -> None:
    answer = app.test_client().post(path, json={}, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code in {404, 405}
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/messages/batches", "batches are not offered; use POST /v1/messages"),
        ("/v1/messages/batches/b/results", "clients is http://localhost, without /v1"),
        ("/v1/files", "clients is http://localhost, without /v1"),
    ],
)
def test_a_client_of_anthropic_s_api_is_never_told_openai_s_base_url(app: Flask, path: str, words: str) -> None:
    answer = app.test_client().post(path, json={}, headers={"anthropic-version": "2023-06-01"})
    assert answer.status_code == 404
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/v1/chat/completions", "this path takes POST"),
        ("PUT", "/v1/responses/resp_x", "this path takes DELETE, GET"),
        ("POST", "/v1/models", "this path takes GET"),
        ("GET", "/v1/messages", "this path takes POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(app: Flask, method: str, path: str, words: str) -> None:
    answer = app.test_client().open(path, method=method, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 405
    assert answer.json["error"]["message"] == f"{method} {path}: {words}"


def test_one_slash_too_many_is_led_to_the_right_path(app: Flask) -> None:
    answer = app.test_client().post("/v1//chat/completions", json={})
    assert (answer.status_code, answer.headers["Location"]) == (308, "http://localhost/v1/chat/completions")
