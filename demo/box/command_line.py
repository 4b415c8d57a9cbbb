"""The box's command line."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from demo.box.config import AppSource, BoxConfig, DaemonAddress, Imitation, Limits


def parse(arguments: Sequence[str] | None = None) -> BoxConfig:
    """The configuration that the arguments ask for."""
    given = _parser().parse_args(arguments)
    return BoxConfig(
        apps=tuple(given.app),
        plugin_folder=given.plugin_dir,
        credentials_file=given.credentials,
        daemon=given.daemon,
        tools_plugin=given.tools_plugin,
        workspace=given.workspace,
        host=given.host,
        port=given.port,
        limits=Limits(**{each.name: getattr(given, each.name) for each in fields(Limits)}),
        imitation=Imitation(**{each.name: getattr(given, each.name) for each in fields(Imitation)}),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Dify in a box.")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on")
    parser.add_argument("--port", type=int, default=0, help="port to serve on; 0 takes a free one")
    parser.add_argument(
        "--app",
        type=_app_source,
        action="append",
        required=True,
        metavar="FILE:KEY",
        help="an app export and its service API key; may be given several times",
    )
    parser.add_argument("--plugin-dir", type=_folder, default=Path.cwd(), help="the plugin's folder")
    parser.add_argument("--credentials", type=Path, help="JSON file that maps each provider to its credentials")
    parser.add_argument("--tools-plugin", type=_folder, help="the folder of a plugin with endpoints")
    parser.add_argument(
        "--workspace", type=Path, help="JSON file with the workspace's tools and that plugin's settings"
    )
    parser.add_argument(
        "--daemon",
        type=_daemon,
        metavar="URL,KEY,WORKSPACE",
        help="Dify's own plugin daemon, with the plugin installed in it, instead of a process of the box's",
    )
    limits = parser.add_argument_group("limits, in seconds unless they count something")
    for each in fields(Limits):
        kind = int if isinstance(each.default, int) and each.type is int else float
        _add(limits, each.name, each.metadata["help"], default=each.default, type=kind)
    older = parser.add_argument_group("older Dify")
    for each in fields(Imitation):
        _add(older, each.name, each.metadata["help"], action="store_true")
    return parser


def _add(group: Any, name: str, text: str, **options: Any) -> None:
    suffix = " (default %(default)s)" if "default" in options else ""
    group.add_argument(f"--{name.replace('_', '-')}", help=text + suffix, **options)


def _app_source(text: str) -> AppSource:
    path, colon, key = text.rpartition(":")
    if not colon or not path or not key:
        raise argparse.ArgumentTypeError(f"'{text}' must be the app export's path, a colon and the app's key")
    return AppSource(Path(path), key)


def _daemon(text: str) -> DaemonAddress:
    url, key, tenant = text.split(",")
    return DaemonAddress(url, key, tenant)


def _folder(text: str) -> Path:
    return Path(text).resolve()
