"""What all tests share: what to do about the parts that not every machine has."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no defect: only what is wrong fails, and in CI the same examples are tried every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

ROOT = Path(__file__).resolve().parent.parent
OPENCLAW = ROOT / ".cache/openclaw/bin/openclaw"
AGENTS = ROOT / ".cache/agents"
DEPLOY = Path(os.environ.get("CLAWBACK_DEPLOY_TOOLS", ROOT / ".cache/deploy"))


def newest_postgresql() -> Path | None:
    """The folder of PostgreSQL's commands: on PATH, or where Debian puts them."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def _has_deploy() -> bool:
    return (DEPLOY / "bin" / "helm").exists() and all(map(shutil.which, ("nginx", "caddy")))


# What a marker asks for, and whether it is here.
PARTS: dict[str, tuple[str, Callable[[], bool]]] = {
    "openclaw": ("the real OpenClaw", OPENCLAW.exists),
    "agents": ("a coding agent", (AGENTS / "installed.json").exists),
    "chromium": ("Chromium", lambda: shutil.which("chromium") is not None),
    "deploy": ("Helm, kubernetes-validate, nginx or Caddy", _has_deploy),
    "servers": ("PostgreSQL or Redis", lambda: bool(newest_postgresql() and shutil.which("redis-server"))),
}


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
def openclaw() -> Path:
    """The command line of the real OpenClaw, for tests marked `openclaw`."""
    return OPENCLAW
