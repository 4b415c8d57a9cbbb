"""`clawback package`."""

import hashlib
import io
import json
import tomllib
import zipfile
from pathlib import Path

import click

from bridge.commands.package.contents import (
    BUILT,
    TOOLS_BUILT,
    PackageError,
    archive,
    package_contents,
    stored,
    tools_contents,
)

CHECKOUT = Path(__file__).resolve().parents[3]


def plugin_package() -> bytes:
    """Return the plugin as Dify installs it. Raises PackageError where something that it needs is missing."""
    built = Path(__file__).with_name(BUILT)
    return built.read_bytes() if built.exists() else archive(package_contents(CHECKOUT))


def tools_package() -> bytes:
    """Return Clawback Tools as Dify installs it. Raises PackageError."""
    built = Path(__file__).with_name(TOOLS_BUILT)
    return built.read_bytes() if built.exists() else archive(tools_contents(CHECKOUT))


def bundle(packages: dict[str, bytes], version: str) -> bytes:
    """Return what installs these packages together. Dify looks for them, and for the icon, in `_assets`."""
    with zipfile.ZipFile(io.BytesIO(next(iter(packages.values())))) as first:
        kept = {name: first.read(name) for name in ("_assets/icon.svg", "README.md")}
    dependencies = [{"type": "package", "value": {"path": name}} for name in packages]
    manifest = {
        "name": "clawback",
        "labels": {"en_US": "Clawback", "zh_Hans": "Clawback"},
        "description": {
            "en_US": "Both plugins of Clawback: the model provider, and the one that lends the workspace's tools.",
            "zh_Hans": "Clawback 的两个插件：模型供应商，以及提供工作区工具的插件。",
        },
        "icon": "icon.svg",
        "version": version,
        "author": "clawback",
        "type": "bundle",
        "tags": [],
        "dependencies": dependencies,
    }
    # Each JSON text is a YAML text.
    written = {"manifest.yaml": json.dumps(manifest, ensure_ascii=False, indent=2).encode()}
    return stored(written | kept | {f"_assets/{name}": data for name, data in packages.items()})


@click.command
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A folder for all files, or FILE.difypkg for the model plugin alone. The default is dist/ in a checkout, "
    "else the current folder.",
)
def package(output: Path | None) -> None:
    """Write the files that Dify installs: the model plugin, Clawback Tools, a bundle of both, and the example apps.

    The same sources always give the same bytes.
    """
    try:
        model = plugin_package()
        if output and output.suffix == ".difypkg" and not output.is_dir():
            _write(output, model)
            return
        tools = tools_package()
    except PackageError as error:
        raise click.ClickException(str(error)) from error
    if output and output.suffix == ".difybndl":
        raise click.ClickException(f"--output {output}: name a folder, which gets the bundle and both plugins")
    if output and output.is_file():
        raise click.ClickException(f"--output {output} is a file: name a folder, or a file that ends in .difypkg")
    folder, version = output or _folder(), _version(model)
    packages = {f"clawback-{version}.difypkg": model, f"clawback-tools-{version}.difypkg": tools}
    for name, data in packages.items():
        _write(folder / name, data)
    _write(folder / f"clawback-{version}.difybndl", bundle(packages, version))
    _write_examples(folder / "examples")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        count = len(file.namelist())
    click.echo(f"{path}: {count} files, {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def _write_examples(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    examples = sorted((CHECKOUT / "examples").glob("*.yml"))
    for each in examples:
        (folder / each.name).write_bytes(each.read_bytes())
    click.echo(f"{folder}: {', '.join(each.name for each in examples)}, the apps to import in Dify's Studio")


def _version(package: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(package)) as file:
        version: str = tomllib.loads(file.read("pyproject.toml").decode())["project"]["version"]
    return version


def _folder() -> Path:
    return CHECKOUT / "dist" if (CHECKOUT / "manifest.yaml").exists() else Path()
