"""What Dify's marketplace checks of a plugin, on the packages of both as they are written.

Source: the checks of langgenius/dify-plugins for a submitted plugin. Two of its twelve are of the pull request itself:
its language, and that it holds one package. Its version must not have been published; that is the registry's to say.
"""

import io
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.commands.package.contents import archive, package_contents, tools_contents
from bridge.commands.package.trial import try_over_http, try_over_stdio

pytestmark = pytest.mark.parts

ROOT = Path(__file__).resolve().parents[4]
CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]")
TEXTS = {".py", ".yaml", ".md", ".toml", ".txt", ".lock", ".svg", ""}
UNWANTED = re.compile(r"(^|/)(\.env|\.git|\.venv|venv|__pycache__|node_modules|\.DS_Store)(/|$)|\.(log|pyc|so|exe|db)$")


@pytest.fixture(scope="module", params=[package_contents, tools_contents], ids=["clawback", "clawback_tools"])
def contents(request: pytest.FixtureRequest) -> dict[str, Path]:
    """What is in the package of each plugin."""
    of_plugin: dict[str, Path] = request.param(ROOT)
    return of_plugin


@pytest.fixture(scope="module")
def unpacked(contents: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, unpacked, with the environment of these tests as its own."""
    folder = tmp_path_factory.mktemp("plugin")
    with zipfile.ZipFile(io.BytesIO(archive(contents))) as package:
        package.extractall(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture(scope="module")
def manifest(unpacked: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((unpacked / "manifest.yaml").read_text())
    return read


@pytest.mark.parametrize("name", ["manifest.yaml", "README.md", "PRIVACY.md", "_assets"])
def test_what_every_plugin_has_is_there(unpacked: Path, name: str) -> None:
    assert (unpacked / name).exists()


def test_the_privacy_policy_is_named_and_not_empty(unpacked: Path, manifest: dict[str, Any]) -> None:
    assert manifest["privacy"] == "PRIVACY.md"
    assert len((unpacked / "PRIVACY.md").read_text()) > 500


def test_author_name_and_version_are_such_as_it_takes(manifest: dict[str, Any]) -> None:
    for name in (manifest["author"], manifest["name"]):
        assert re.fullmatch(r"[a-z0-9_-]{1,64}", name)
        assert not re.search("langgenius|dify", name)
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["meta"]["minimum_dify_version"])


def test_the_icons_are_our_own_and_light_is_not_dark(unpacked: Path, manifest: dict[str, Any]) -> None:
    light, dark = ((unpacked / "_assets" / manifest[kind]).read_text() for kind in ("icon", "icon_dark"))
    assert light != dark
    assert all(icon.lstrip().startswith(("<svg", "<?xml")) for icon in (light, dark))


def test_the_models_have_the_plugin_s_icons() -> None:
    manifest, provider = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("manifest.yaml", "provider/clawback.yaml")
    )
    assert provider["icon_small"]["en_US"] == manifest["icon"]
    assert provider["icon_small_dark"]["en_US"] == manifest["icon_dark"]


def test_the_readme_is_english_and_translations_stand_beside_it(unpacked: Path, manifest: dict[str, Any]) -> None:
    assert not CJK.search((unpacked / "README.md").read_text())
    assert not CJK.search(manifest["description"]["en_US"])
    assert all(CJK.search(path.read_text()) for path in (unpacked / "readme").glob("README_*.md"))


def test_the_readme_tells_what_a_user_needs() -> None:
    readme = (ROOT / "README.md").read_text()
    for word in (
        "Install the plugin",
        "clawback init",
        "callback_wait_seconds",
        "PRIVACY.md",
        "FORCE_VERIFYING_SIGNATURE",
    ):
        assert word in readme


def test_the_translation_names_only_what_there_is() -> None:
    known = "".join(
        (ROOT / name).read_text() for name in ("README.md", "provider/clawback.yaml", "provider/models/llm/main.yaml")
    )
    named = re.findall(r"`([^`]+)`", (ROOT / "readme/README_zh_Hans.md").read_text())
    assert {name for name in named if name not in known} <= {".difypkg", "localhost"}


def test_the_sdk_is_new_enough_and_the_python_is_the_daemon_s(unpacked: Path, manifest: dict[str, Any]) -> None:
    project = tomllib.loads((unpacked / "pyproject.toml").read_text())["project"]
    [sdk] = [each for each in project["dependencies"] if each.startswith("dify_plugin")]
    assert sdk.startswith("dify_plugin>=0.10")
    assert manifest["meta"]["runner"] == {"language": "python", "version": "3.12", "entrypoint": "main"}
    assert project["requires-python"].startswith(">=3.12")


def test_every_requirement_is_pinned(unpacked: Path) -> None:
    lines = (unpacked / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+\w*", line) for line in lines)


def test_it_starts_from_what_is_in_the_package_alone(unpacked: Path) -> None:
    assert try_over_http(unpacked) > 0
    assert try_over_stdio(unpacked) > 0
    modules = [path.relative_to(unpacked).with_suffix("") for path in unpacked.glob("[!._]*/**/*.py")]
    late = f"import {', '.join('.'.join(path.parts).removesuffix('.__init__') for path in modules)}"
    subprocess.run([ROOT / ".venv/bin/python", "-c", late], cwd=unpacked, check=True, capture_output=True, timeout=60)


def test_packing_what_was_unpacked_makes_the_same_bytes(contents: dict[str, Path], unpacked: Path) -> None:
    assert archive({name: unpacked / name for name in contents}) == archive(contents)


def test_dify_s_own_tool_packs_it(contents: dict[str, Path], unpacked: Path, tmp_path: Path) -> None:
    dify = shutil.which("dify")
    if dify is None:
        pytest.skip("needs Dify's command line tool")
    copy = tmp_path / "plugin"
    shutil.copytree(unpacked, copy, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    output = tmp_path / "packed.difypkg"
    subprocess.run([dify, "plugin", "package", copy, "-o", output], check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(output) as packed:
        assert set(contents) <= set(packed.namelist())


def test_nothing_is_in_it_that_does_not_belong_there(contents: dict[str, Path]) -> None:
    for name, path in contents.items():
        assert not UNWANTED.search(name), name
        assert path.suffix in TEXTS, name
        assert b"\0" not in path.read_bytes(), name
