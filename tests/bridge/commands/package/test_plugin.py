"""The package of this very checkout."""

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from bridge.commands.package.command import package
from bridge.commands.package.contents import package_contents

ROOT = Path(__file__).resolve().parents[4]
PLUGIN = ROOT / "bridge/commands/package/plugin"


def locked(lock: Path) -> dict[str, str]:
    packages = tomllib.loads(lock.read_text())["package"]
    return {item["name"]: item["version"] for item in packages}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("package") / "clawback.difypkg"
    result = CliRunner().invoke(package, ["--output", str(output)])
    assert result.exit_code == 0, result.output
    return output


def test_it_weighs_less_than_200_kilobytes(written: Path) -> None:
    assert written.stat().st_size < 200_000


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    output = tmp_path / "new/clawback.difypkg"
    result = CliRunner().invoke(package, ["-o", str(output)])
    assert re.search(rf"{output}: \d+ files, [\d,]+ bytes, sha256 [0-9a-f]{{64}}", result.output)
    assert f"{output.stat().st_size:,} bytes" in result.output


def test_nothing_of_the_plugin_is_left_out() -> None:
    folders = ("provider", "_assets", "readme")
    listing = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {name for name in listing.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked - set(package_contents(ROOT)) == set()


def test_the_plugin_runs_on_the_versions_that_the_tests_run_on() -> None:
    tested = locked(ROOT / "uv.lock")
    assert locked(PLUGIN / "uv.lock").items() <= tested.items()


def test_lock_and_requirements_name_the_same_versions() -> None:
    pins = dict(line.split("==") for line in (PLUGIN / "requirements.txt").read_text().splitlines())
    assert pins == {name: version for name, version in locked(PLUGIN / "uv.lock").items() if name != "clawback"}


def test_manifest_and_project_tell_one_version(written: Path) -> None:
    with zipfile.ZipFile(written) as unpacked:
        manifest = yaml.safe_load(unpacked.read("manifest.yaml"))
        project = tomllib.loads(unpacked.read("pyproject.toml").decode())["project"]
    assert manifest["version"] == manifest["meta"]["version"] == project["version"]
