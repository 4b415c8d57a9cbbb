"""`clawback init` and `clawback doctor` as a person runs them, with Dify in a box beside them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

from bridge.cli import main
from demo.stack import Stack
from tests.bridge.setup import exports
from tests.bridge.setup.commands import Command
from tests.bridge.setup.patient import Patient
from tests.levels import starts


@pytest.fixture(scope="session")
@starts("e2e")
def dify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Dify with two chatflows that are right, and others that are not. Whoever changes it puts it right again."""
    folder = tmp_path_factory.mktemp("dify")
    workspace = {"tools": [exports.TOOL], "picked": [exports.PICKED]}
    with Stack(folder, apps=["minimal", "router"], exports=exports.write(folder), workspace=workspace) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Where the configuration will be."""
    return tmp_path / "home" / "clawback" / "clawback.toml"


@pytest.fixture
def init(config: Path) -> Command:
    """`clawback init` for this configuration, without a terminal."""

    def run(*arguments: str) -> "CompletedProcess[str]":
        done = CliRunner(env={"NO_COLOR": "1"}).invoke(main, ["init", "--config", str(config), *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def patient_of(tmp_path: Path, dify: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Patient]]:
    """Make a patient for one of Dify's apps."""
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "openclaw"))
    made: list[Patient] = []

    def make(app: str = "minimal") -> Patient:
        made.append(Patient(tmp_path, dify, app))
        return made[-1]

    yield make
    for patient in made:
        patient.stop()


@pytest.fixture
def patient(patient_of: Callable[..., Patient]) -> Patient:
    """A patient whom nothing ails."""
    return patient_of().heal()
