"""A run of a thousand steps is no burden to who looks at it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from bench.page import long_run
from tests.e2e.executors import SECONDS
from tests.levels import starts
from tests.page.chromium import Parts, parts_in

pytestmark = pytest.mark.chromium

STEPS = 1_000
SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const end = document.documentElement.scrollHeight;
  for (const part of [0, end / 2, end - 20000]) {
    scrollTo(0, part);
    for (let turn = 0; turn < 30; turn++) {
      scrollBy(0, 600);
      await frame();
    }
  }
}"""


@pytest.fixture(scope="module")
@starts("e2e")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts_in(tmp_path_factory.mktemp("long")) as running:
        expect.set_options(timeout=SECONDS * 1000 / 2)
        yield running


def test_a_run_of_a_thousand_steps_scrolls_without_a_halt(parts: Parts) -> None:
    store = parts.stack.store()
    long_run(store, "long", STEPS)
    store.close()
    with parts.page() as page:
        page.goto(f"{parts.url}/runs/long")
        expect(page.locator("[data-link=on]")).to_be_visible()
        assert page.locator(".step.call").count() == STEPS
        assert page.locator(".step.end").count() == 1
        parts.browser.start_tracing(page=page, categories=["toplevel", "__metadata"])
        page.evaluate(SCROLL)
        tasks = _tasks(json.loads(parts.browser.stop_tracing())["traceEvents"])
    assert len(tasks) > 90
    assert max(tasks) < 100, sorted(tasks)[-10:]


def _tasks(events: list[dict[str, Any]]) -> list[float]:
    """How many milliseconds each task of the page's own thread worked; how long others kept it waiting is no matter."""
    page = {
        each["tid"] for each in events if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return [
        each["tdur"] / 1000
        for each in events
        if each["name"] == "ThreadControllerImpl::RunTask" and each["tid"] in page and "tdur" in each
    ]
