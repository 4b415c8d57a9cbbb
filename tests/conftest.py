"""What all tests share: what to do about the parts that not every machine has."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no defect: only what is wrong fails, and in CI the same examples are tried every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")

ROOT = Path(__file__).resolve().parent.parent
OPENCLAW = ROOT / ".cache/openclaw/bin/openclaw"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the real OpenClaw where there is none, but never in CI, where a skip would hide a failure."""
    if item.get_closest_marker("openclaw") is None or OPENCLAW.exists():
        return
    reason = "the real OpenClaw is not installed here: scripts/setup installs it into .cache/"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def openclaw() -> Path:
    """The command line of the real OpenClaw, for tests marked `openclaw`."""
    return OPENCLAW
