from collections.abc import Iterator

import pytest

from tests.demo.box import exports
from tests.demo.box.running import EXAMPLES, RunningBox, started
from tests.levels import starts


@pytest.fixture(scope="session")
@starts("parts")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """Dify as it is, with quick pings."""
    folder = tmp_path_factory.mktemp("box")
    apps = {
        "key-minimal": EXAMPLES / "minimal.yml",
        "key-router": EXAMPLES / "router.yml",
        "key-pipeline": EXAMPLES / "pipeline.yml",
        "key-inputs": exports.write(folder / "inputs.yml", exports.with_inputs),
        "key-retries": exports.write(folder / "retries.yml", exports.with_retries),
        "key-defaults": exports.write(folder / "defaults.yml", exports.with_default_value),
        "key-unknown": exports.write(folder / "unknown.yml", exports.without_credentials),
        "key-form": exports.write(folder / "form.yml", exports.with_form),
        "key-workflow": exports.write(folder / "workflow.yml", exports.as_workflow),
    }
    with started(folder, "--ping-seconds", "0.2", "--plugin-restart-seconds", "0.1", apps=apps) as running:
        yield running


@pytest.fixture(scope="session")
@starts("parts")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """Dify with limits that tests can reach, and two worker slots."""
    times = ("--plugin-seconds", "1.5", "--workflow-seconds", "2", "--plugin-restart-seconds", "0.1")
    counts = ("--worker-slots", "2", "--max-active-requests", "3")
    with started(tmp_path_factory.mktemp("hurried"), *times, *counts) as running:
        yield running


@pytest.fixture(scope="session")
@starts("parts")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """An older Dify, whose streams count as active requests until they end."""
    ways = ("--legacy-order", "--raw-parameters", "--no-app-id", "--no-end-users", "--hold-request-slot")
    with started(tmp_path_factory.mktemp("older"), *ways, "--max-active-requests", "1") as running:
        yield running
