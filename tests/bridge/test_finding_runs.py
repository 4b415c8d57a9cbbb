"""A node finds the run that it serves by what only that run's own workflow can say."""

from typing import Any

import pytest
from flask import Flask

from bridge.runs.core import Core
from bridge.store.rows import MarkerRow, RunRow
from tests.bridge.test_plugin_api import app, attach, call, run
from tools.marker import marker_digest, new_secret
from tools.run_states import RunEvent

__all__ = ["app", "run"]


@pytest.fixture
def secret(app: Flask, run: RunRow) -> str:
    """What names the run's first attempt in texts."""
    made = new_secret()
    core: Core = app.extensions["clawback"]
    core.store.add_marker(MarkerRow(marker_digest(made), run.id, 1))
    return made


def found(app: Flask, **named: Any) -> str | None:
    answer = attach(app, f"invocation-{len(str(named))}", user=None, **named)
    return answer["run_id"]


def is_over(app: Flask, **named: Any) -> bool:
    body = {"invocation_id": "late-invocation", "fingerprint": "f", "model": "m", **named}
    status, answer = call(app, "POST", "/plugin/v1/attach", body)
    return status == 410 and answer["error"]["code"] == "run_over"


def test_the_marker_of_a_run_is_found_among_others_in_a_prompt(app: Flask, run: RunRow, secret: str) -> None:
    quoted = [run.id, new_secret(), secret, "a0a0a0a0a0"]
    assert found(app, markers=quoted) == run.id


def test_a_run_s_public_id_names_it_in_no_text(app: Flask, run: RunRow, secret: str) -> None:
    assert found(app, markers=[run.id], marker=run.id) is None
    assert found(app, callback_key=f"u:{run.id}") is None


def test_a_text_that_names_a_finished_run_is_text(app: Flask, run: RunRow) -> None:
    core: Core = app.extensions["clawback"]
    core.store.end_run(run.id, RunEvent.FINISH)
    assert found(app, markers=[run.id]) is None


def test_a_node_of_an_attempt_that_is_over_is_given_to_nobody(app: Flask, run: RunRow, secret: str) -> None:
    core: Core = app.extensions["clawback"]
    core.store.update_run(run.id, attempt=2)
    assert is_over(app, markers=[secret])
    core.store.end_run(run.id, RunEvent.FINISH)
    assert is_over(app, markers=[secret])


def test_where_a_marker_and_difys_user_disagree_the_user_counts(app: Flask, run: RunRow, secret: str) -> None:
    core: Core = app.extensions["clawback"]
    core.store.save_end_user("uuid-of-somebody", "somebody")
    answer = attach(app, user="uuid-of-somebody", markers=[secret], callback_key=f"u:{run.dify_user}")
    assert answer["run_id"] is None
    assert "somebody" in answer["reason"]
    core.store.save_end_user("uuid-of-the-run", run.dify_user)
    assert attach(app, "invocation2", user="uuid-of-the-run", markers=[new_secret()])["run_id"] == run.id


def test_a_plugin_of_an_earlier_version_sends_one_marker(app: Flask, run: RunRow, secret: str) -> None:
    assert found(app, marker=secret) == run.id
