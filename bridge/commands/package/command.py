"""`clawback package`."""

import hashlib
import io
import tomllib
import zipfile
from pathlib import Path

import click

from bridge.commands.package.archive import archive
from bridge.commands.package.contents import BUILT, PackageError, package_contents

CHECKOUT = Path(__file__).resolve().parents[3]


def plugin_package() -> bytes:
    """Return the plugin as Dify installs it. Raises PackageError where something that it needs is missing."""
    built = Path(__file__).with_name(BUILT)
    return built.read_bytes() if built.exists() else archive(package_contents(CHECKOUT))


@click.command
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. By default clawback-VERSION.difypkg: in the checkout's dist/, else in this folder.",
)
def package(output: Path | None) -> None:
    """Write the plugin as Dify installs it: a .difypkg, the same bytes for the same sources."""
    try:
        written = plugin_package()
    except PackageError as error:
        raise click.ClickException(str(error)) from error
    with zipfile.ZipFile(io.BytesIO(written)) as file:
        count = len(file.namelist())
        version = tomllib.loads(file.read("pyproject.toml").decode())["project"]["version"]
    output = output or _folder() / f"clawback-{version}.difypkg"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(written)
    click.echo(f"{output}: {count} files, {len(written):,} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


def _folder() -> Path:
    return CHECKOUT / "dist" if (CHECKOUT / "manifest.yaml").exists() else Path()
