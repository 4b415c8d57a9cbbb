"""The nodes of the chatflow, as Dify tells of them, and what a run cost."""

import pytest

from tests.bridge.executor.conftest import Bridge
from tests.page.conftest import Person, words
from tools.run_states import RunEvent

COSTS = {"total_tokens": 1200, "price": "0.0130", "currency": "USD"}
FREE = {"total_tokens": 0, "price": "", "currency": ""}


@pytest.fixture
def run(bridge: Bridge) -> str:
    """A run that is under way."""
    bridge.register()
    return str(bridge.attach()["run_id"])


def read(ann: Person, run: str) -> str:
    return words(ann.get(f"/runs/{run}").text)


def test_a_node_is_shown_as_it_runs_and_as_it_ended(ann: Person, run: str) -> None:
    nodes = ann.bridge.store.nodes
    nodes.started(run, 1, "e1", "Think", "llm")
    assert "llm Think running for" in read(ann, run)
    nodes.ended(run, 1, "e1", "succeeded", None, **COSTS)
    page = read(ann, run)
    assert "llm Think 0." in page
    assert "1200 tokens" in page
    assert "running for" not in page


def test_a_node_that_is_tried_again_is_one_node(ann: Person, run: str) -> None:
    nodes = ann.bridge.store.nodes
    nodes.started(run, 1, "e1", "Fetch", "http-request")
    nodes.retried(run, 1, "e1", "no answer")
    nodes.started(run, 1, "e1", "Fetch", "http-request")
    nodes.retried(run, 1, "e1", "no answer")
    nodes.ended(run, 1, "e1", "failed", "gave <b>up</b>", **FREE)
    page = read(ann, run)
    assert page.count("http-request Fetch") == 1
    assert "failed · retried 2 times" in page
    assert "gave <b>up</b>" in page
    assert "<b>up</b>" not in ann.get(f"/runs/{run}").text


def test_the_same_node_of_a_later_workflow_run_is_another_one(ann: Person, run: str) -> None:
    store = ann.bridge.store
    store.nodes.started(run, 1, "e1", "Think", "llm")
    store.update_run(run, attempt=2)
    store.nodes.started(run, 2, "e1", "Think", "llm")
    page = read(ann, run)
    assert page.count("llm Think") == 2
    assert "Think released" in page
    before, again = page.index("released"), page.index("Workflow run 2")
    assert before < again < page.index("running for")


def test_what_ended_with_its_run_does_not_run_on(ann: Person, run: str) -> None:
    ann.bridge.store.nodes.started(run, 1, "e1", "Think", "llm")
    ann.bridge.store.end_run(run, RunEvent.CANCEL, "the client went away")
    page = read(ann, run)
    assert "Think released" in page
    assert "Cancelled the client went away" in page


def test_costs_are_added_up_by_currency_and_to_the_last_digit(ann: Person, run: str) -> None:
    nodes = ann.bridge.store.nodes
    assert "Costs" not in read(ann, run)
    for number, (price, currency) in enumerate([("0.1", "USD"), ("0.2", "USD"), ("7", "CNY"), ("", "")]):
        nodes.started(run, 1, f"e{number}", "Think", "llm")
        values = {"total_tokens": 1, "price": price, "currency": currency}
        nodes.ended(run, 1, f"e{number}", "succeeded", None, **values)
    assert "Costs 0.3 USD, 7 CNY" in read(ann, run)


def test_nodes_are_forgotten_with_their_run(ann: Person, run: str) -> None:
    store = ann.bridge.store
    store.nodes.started(run, 1, "e1", "Think", "llm")
    store.end_run(run, RunEvent.FINISH)
    assert store.forget_before(store.run(run).updated_at + 1) == 1  # type: ignore[union-attr]
    assert store.nodes.of_run(run) == []
