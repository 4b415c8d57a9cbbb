"""Makes the wheel: our rooms below one package, the plugin as Dify installs it, the examples that the demo plays,
and the lock of the demo's environment.

An editable install has the rooms at the checkout's root, and `clawback` beside them.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from rooms import PACKAGE, RoomsError, below, modules  # noqa: E402


class Rooms(BuildHookInterface):  # type: ignore[misc]
    """The part of the build that hatchling does not know."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Lay out what the wheel holds, in a folder that `finalize` removes."""
        init = HERE / f"{PACKAGE}.py"
        if version == "editable":
            build_data["force_include_editable"] = {str(init): init.name}
            return
        root = Path(self.root)
        rooms: list[str] = self.config["rooms"]
        self._staged = Path(tempfile.mkdtemp(prefix="clawback-wheel-"))
        known = modules(root, rooms)
        _put(init, self._staged / "__init__.py", known)
        for room in rooms:
            for path in sorted((root / room).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    _put(path, self._staged / path.relative_to(root), known)
        self._add_plugin(root)
        shutil.copytree(root / "examples", self._staged / "examples")
        for name in ("pyproject.toml", "uv.lock"):
            _put(root / name, self._staged / "demo/environment" / name, known)
        build_data["force_include"][str(self._staged)] = PACKAGE
        self._put_commands_below()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        if version != "editable":
            shutil.rmtree(self._staged)

    def _add_plugin(self, root: Path) -> None:
        """Write the plugins' packages, whose modules stand at their roots, and leave out what is theirs alone."""
        sys.path.insert(0, str(root))
        from bridge.commands.package.contents import (
            BUILT,
            PROJECT_FOLDER,
            TOOLS_BUILT,
            archive,
            package_contents,
            tools_contents,
        )

        shutil.rmtree(self._staged / PROJECT_FOLDER)
        (self._staged / "bridge/commands/package" / BUILT).write_bytes(archive(package_contents(root)))
        (self._staged / "bridge/commands/package" / TOOLS_BUILT).write_bytes(archive(tools_contents(root)))

    def _put_commands_below(self) -> None:
        core = self.metadata.core
        for group in (core.scripts, *core.entry_points.values()):
            group.update({name: f"{PACKAGE}.{target}" for name, target in group.items()})


def _put(source: Path, target: Path, known: set[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".py":
        shutil.copyfile(source, target)
        return
    try:
        target.write_text(below(source.read_text(encoding="utf-8"), known), encoding="utf-8")
    except RoomsError as error:
        raise RoomsError(f"{source}, {error}") from None
