"""`clawback package`."""

import hashlib
import tomllib
from pathlib import Path

import click

from bridge.commands.package.archive import archive
from bridge.commands.package.contents import package_contents
from bridge.commands.package.errors import PackageError

CHECKOUT = Path(__file__).resolve().parents[3]


@click.command
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. By default dist/clawback-VERSION.difypkg in the checkout.",
)
def package(output: Path | None) -> None:
    """Write the plugin as Dify installs it: a .difypkg, the same bytes for the same sources."""
    try:
        contents = package_contents(CHECKOUT)
    except PackageError as error:
        raise click.ClickException(str(error)) from error
    written = archive(contents)
    output = output or CHECKOUT / "dist" / f"clawback-{_version(contents)}.difypkg"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(written)
    click.echo(f"{output}: {len(contents)} files, {len(written):,} bytes, sha256 {hashlib.sha256(written).hexdigest()}")


def _version(contents: dict[str, Path]) -> str:
    version: str = tomllib.loads(contents["pyproject.toml"].read_text(encoding="utf-8"))["project"]["version"]
    return version
