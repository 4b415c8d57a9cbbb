"""What all tests share: what to do about the parts that not every machine has."""

import gc
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no defect: only what is wrong fails, and in CI the same examples are tried every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.register_profile("fast", settings.get_profile("here"), max_examples=20)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

pytest_plugins = ["tests.levels"]

ROOT = Path(__file__).resolve().parent.parent
OPENCLAW = ROOT / ".cache/openclaw/bin/openclaw"
AGENTS = ROOT / ".cache/agents"
DEPLOY = Path(os.environ.get("CLAWBACK_DEPLOY_TOOLS", ROOT / ".cache/deploy"))


def newest_postgresql() -> Path | None:
    """The folder of PostgreSQL's commands: on PATH, or where Debian puts them."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def agents_are_as_locked() -> bool:
    """Whether `scripts/setup agents` has installed what the locks say now."""
    locks = {
        "installed.json": "package-lock.json",
        "requirements.txt": "requirements.txt",
        "nanobot.txt": "nanobot.txt",
    }
    return all(
        (AGENTS / installed).exists()
        and (AGENTS / installed).read_bytes() == (ROOT / "scripts/agents" / lock).read_bytes()
        for installed, lock in locks.items()
    )


def _has_deploy() -> bool:
    return (DEPLOY / "bin" / "helm").exists() and all(map(shutil.which, ("nginx", "caddy")))


def pgbouncer() -> str | None:
    """PgBouncer, which Debian puts where only root's PATH leads."""
    return shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


# What a marker asks for, and whether it is here.
PARTS: dict[str, tuple[str, Callable[[], bool]]] = {
    "openclaw": ("the real OpenClaw", OPENCLAW.exists),
    "agents": ("an agent in the version of its lock", agents_are_as_locked),
    "chromium": ("Chromium", lambda: shutil.which("chromium") is not None),
    "compiler": ("a C compiler", lambda: shutil.which("cc") is not None),
    "deploy": ("Helm, kubernetes-validate, nginx or Caddy", _has_deploy),
    "servers": (
        "PostgreSQL, PgBouncer or Redis",
        lambda: bool(newest_postgresql() and pgbouncer() and shutil.which("redis-server")),
    ),
}


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over thousands of collected tests, and look less often at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a part that is not here, but never in CI, where a skip would hide a failure."""
    for marker, (part, is_here) in PARTS.items():
        if item.get_closest_marker(marker) is None or is_here():
            continue
        reason = f"{part} is not installed here: scripts/setup {marker} installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which nothing is yet."""
    from bridge.store.store import Store

    path = tmp_path_factory.mktemp("store") / "bridge.sqlite3"
    Store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def data_dir(tmp_path: Path, new_store: Path) -> Path:
    """A bridge's folder, with its store: to make the tables anew takes longer than most tests."""
    shutil.copy(new_store, tmp_path)
    return tmp_path


CLIENTS = ROOT / "tests/agents/clients.json"
"""What each client was seen to do, which docs/reference/clients.md shows: written with CLAWBACK_RECORD=1."""

Shows = Callable[..., None]


@pytest.fixture
def shows(request: pytest.FixtureRequest) -> Shows:
    """Note that a client was seen to do `what` in a protocol, and why it `cannot` do something.

    What is not written down yet fails, but for a run that writes it down.
    """
    test = f"{request.path.relative_to(ROOT)}::{request.node.originalname}"

    def note(client: str, protocol: str, *what: str, **cannot: str) -> None:
        known: dict[str, Any] = json.loads(CLIENTS.read_text())
        row = known.setdefault(client, {}).setdefault(protocol, {})
        seen = dict.fromkeys(what, "") | {name.replace("_", " "): why for name, why in cannot.items()}
        news = {
            name: {"test": test, "cannot": why} for name, why in seen.items() if row.get(name, {}).get("cannot") != why
        }
        if news and os.environ.get("CLAWBACK_RECORD") == "1":
            row |= news
            CLIENTS.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        else:
            assert not news, f"{client} does what {CLIENTS.name} does not say: run this with CLAWBACK_RECORD=1"

    return note


@pytest.fixture(scope="session")
def openclaw() -> Path:
    """The command line of the real OpenClaw, for tests marked `openclaw`."""
    return OPENCLAW
