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
from bridge.commands.package.contents import package_contents, tools_contents

pytestmark = pytest.mark.parts

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
    assert written.stat().st_size < 200 * 1024


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    output = tmp_path / "new/clawback.difypkg"
    result = CliRunner().invoke(package, ["-o", str(output)])
    assert re.search(rf"{output}: \d+ files, [\d,]+ bytes, sha256 [0-9a-f]{{64}}", result.output)
    assert f"{output.stat().st_size:,} bytes" in result.output


@pytest.fixture(scope="module")
def all_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    result = CliRunner().invoke(package, ["--output", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_a_folder_gets_both_plugins_and_their_bundle(written: Path, all_three: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    packages = [f"clawback-{version}.difypkg", f"clawback-tools-{version}.difypkg"]
    files = [*packages, f"clawback-{version}.difybndl", "examples"]
    assert sorted(path.name for path in all_three.iterdir()) == sorted(files)
    assert (all_three / packages[0]).read_bytes() == written.read_bytes()
    with zipfile.ZipFile(all_three / f"clawback-{version}.difybndl") as bundle:
        manifest = yaml.safe_load(bundle.read("manifest.yaml"))
        assert [each["value"]["path"] for each in manifest["dependencies"]] == packages
        for name in packages:
            assert bundle.read(f"_assets/{name}") == (all_three / name).read_bytes()
        assert f"_assets/{manifest['icon']}" in bundle.namelist()
    assert (manifest["type"], manifest["version"]) == ("bundle", version)


def test_the_same_sources_make_the_same_bytes(all_three: Path, tmp_path: Path) -> None:
    CliRunner().invoke(package, ["--output", str(tmp_path)])
    for path in all_three.glob("*.dify*"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_example_apps_come_with_it(all_three: Path) -> None:
    written = {path.name: path.read_text() for path in (all_three / "examples").iterdir()}
    assert written == {path.name: path.read_text() for path in (ROOT / "examples").glob("*.yml")}
    assert "minimal.yml" in written


def test_clawback_tools_weighs_less_than_60_kilobytes(all_three: Path) -> None:
    [tools] = all_three.glob("clawback-tools-*.difypkg")
    assert tools.stat().st_size < 60_000


def test_clawback_tools_may_call_tools_and_nothing_else() -> None:
    manifest = yaml.safe_load((ROOT / "dify_tools/manifest.yaml").read_text())
    # A plugin whose manifest lacks `endpoint` gets no address; it lets it call nothing.
    assert manifest["resource"]["permission"] == {"tool": {"enabled": True}, "endpoint": {"enabled": True}}
    assert list(manifest["plugins"]) == ["endpoints"]


@pytest.mark.parametrize("name", ["out.difybndl", "taken.txt"])
def test_an_output_that_is_neither_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken.txt").write_text("mine")
    result = CliRunner().invoke(package, ["--output", str(tmp_path / name)])
    assert result.exit_code == 1
    assert "name a folder" in result.output
    assert (tmp_path / "taken.txt").read_text() == "mine"


def test_nothing_of_clawback_tools_is_left_out() -> None:
    listing = subprocess.run(["git", "ls-files", "-z", "dify_tools"], cwd=ROOT, capture_output=True, check=True)
    tracked = {name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).exists()}
    packed = {path.relative_to(ROOT).as_posix() for path in tools_contents(ROOT).values()}
    assert tracked - packed == set()


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
