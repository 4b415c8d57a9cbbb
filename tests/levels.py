"""What a test starts, as a marker that each test has exactly one of.

unit   nothing: it runs in the tests' own process, which opens no port, calls no other machine and starts no process
parts  some of Clawback's parts: a plugin process, an upstream, a bridge behind its port, a database, a command
e2e    all of them together, or an agent, a browser or another program that Clawback works with

A folder says what its tests start, a fixture that starts more says so with `@starts`, and a test that starts something
by itself has its marker written above it: the highest of the three counts. A unit test that starts something fails.
"""

import sys
import threading
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

LEVELS = ("unit", "parts", "e2e")
FOLDERS = {
    "agents": "e2e",
    "conversations": "e2e",
    "demo/scripted": "parts",
    "deploy": "e2e",
    "e2e": "e2e",
    "sdk": "e2e",
}
"""Below tests/; the tests of other folders start nothing unless they say so."""

_STARTS = {"os.fork", "os.posix_spawn", "os.system", "socket.bind", "socket.connect", "subprocess.Popen"}
_HERE = ("127.", "::1", "localhost")
"""What listens at an address of this machine was started by a test, or nothing listens there."""


def starts[Fixture: Callable[..., Any]](level: str) -> Callable[[Fixture], Fixture]:
    """Note what a fixture starts; it stands below `pytest.fixture`."""

    def note(fixture: Fixture) -> Fixture:
        fixture.starts = level  # type: ignore[attr-defined]
        return fixture

    assert level in LEVELS
    return note


@cache
def folder_level(path: Path) -> str:
    """Return what the tests of a file start at the least."""
    below = Path(__file__).parent
    inside = path.relative_to(below) if path.is_relative_to(below) else Path()
    names = (folder.as_posix() for folder in (inside, *inside.parents))
    return next((FOLDERS[name] for name in names if name in FOLDERS), "unit")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip folders that have no unit test where nothing else was asked for: to import them takes its time."""
    return True if config.option.markexpr == "unit" and folder_level(collection_path) != "unit" else None


def level_of(item: pytest.Item) -> str:
    """Return the highest of what its folder, its fixtures and its own markers say."""
    said = [folder_level(item.path), *(mark.name for mark in item.iter_markers() if mark.name in LEVELS)]
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - pytest's types do not know it
    said += [getattr(each.func, "starts", "unit") for found in fixtures for each in found[-1:]]
    return max(said, key=LEVELS.index)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(level_of(item))


class Watch:
    """Hears what the process starts while a unit test runs, in the test's thread and in those that it began."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._others: set[int | None] | None = None
        sys.addaudithook(self._hear)

    def begin(self) -> None:
        self.started = []
        self._others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def end(self) -> list[str]:
        self._others = None
        return self.started

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._others is None or event not in _STARTS or threading.get_ident() in self._others:
            return
        what = str(arguments[0] if event == "subprocess.Popen" else arguments[-1] if event.startswith("socket") else "")
        if event != "socket.connect" or not what.lstrip("(' ").startswith(_HERE):
            self.started.append(f"{event} {what}".strip())


_watch = Watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if item.get_closest_marker("unit"):
        _watch.begin()
    try:
        return (yield)
    finally:
        _watch.end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if item.get_closest_marker("unit") and _watch.started:
        pytest.fail(f"a unit test started something: {', '.join(_watch.started)}. Mark it `parts`.", pytrace=False)
