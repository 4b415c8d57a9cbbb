"""Which files are in a plugin's package, among them a pyproject.toml of its own, and the zip file that they make."""

import ast
import io
import json
import struct
import tokenize
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# Where Dify's daemon runs: its images (the manifest's two architectures), and the Macs of people who work on Dify.
# Naming them keeps the wheels of all other platforms out of the plugin's lock, which is most of the package's weight.
PLATFORMS = (
    "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "sys_platform == 'linux' and platform_machine == 'aarch64'",
    "sys_platform == 'darwin' and platform_machine == 'arm64'",
)


def plugin_project(pyproject: Path, *, is_tools: bool = False) -> str:
    """The text of a plugin's pyproject.toml, from the repository's `pyproject`; Clawback Tools needs the SDK alone."""
    # The daemon makes every plugin's environment with Python 3.12; a lock for others too would be three times as large.
    repository = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project, dependencies = repository["project"], repository["dependency-groups"]["plugin"]
    if is_tools:
        project, dependencies = project | {"name": f"{project['name']}-tools"}, dependencies[:1]
    return f"""\
# Derived by scripts/lock from Clawback's own pyproject.toml.
[project]
name = {json.dumps(project["name"])}
version = {json.dumps(project["version"])}
description = {json.dumps(project["description"], ensure_ascii=False)}
requires-python = ">=3.12,<3.13"
dependencies = {_array(dependencies)}

[tool.uv]
package = false
environments = {_array(PLATFORMS)}
"""


def _array(items: tuple[str, ...] | list[str]) -> str:
    return "".join(["[\n", *(f"    {json.dumps(item)},\n" for item in items), "]"])


class PackageError(Exception):
    """The package cannot be written. The text says what to change."""


def imported(root: Path, sources: Iterable[Path]) -> set[Path]:
    """Return the files under `root` that `sources` import, and what those import, with the packages they are in."""
    found: set[Path] = set()
    left = list(sources)
    while left:
        for name in _names(left.pop()):
            for path in _files(root, name):
                if path not in found:
                    found.add(path)
                    left.append(path)
    return found


def _names(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, name: str) -> Iterator[Path]:
    """Yield the file of a module and those of the packages around it; the last part may be a name in the module."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        module = root.joinpath(*parts[:depth])
        yield from (path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file())


# What the daemon builds the plugin's environment from. It stands at the package's root, but not at the repository's.
PROJECT_FOLDER = "bridge/commands/package/plugin/"

# The second plugin, Clawback Tools, has a folder that looks as its package does.
TOOLS_FOLDER = "dify_tools/"

# An installed Clawback has the packages themselves, beside this file: its own copies of the sources import one another
# by other names.
BUILT = "clawback.difypkg"
TOOLS_BUILT = "clawback-tools.difypkg"

# A folder's files are named by kind, so that caches, editors' leavings and the like never get in.
PATTERNS = (
    "manifest.yaml",
    "main.py",
    "LICENSE",
    "PRIVACY.md",
    "README.md",
    "_assets/*.svg",
    "provider/**/*.py",
    "provider/**/*.yaml",
    f"{PROJECT_FOLDER}pyproject.toml",
    f"{PROJECT_FOLDER}requirements.txt",
    f"{PROJECT_FOLDER}uv.lock",
)

TOOLS_PATTERNS = (
    *(f"{TOOLS_FOLDER}{name}" for name in ("manifest.yaml", "main.py", "PRIVACY.md", "README.md", "_assets/*.svg")),
    *(f"{TOOLS_FOLDER}{name}" for name in ("provider/*.yaml", "endpoints/*.py", "endpoints/*.yaml")),
    *(f"{TOOLS_FOLDER}{name}" for name in ("pyproject.toml", "requirements.txt", "uv.lock")),
    "LICENSE",
)

# Translations of README.md; a package is complete without them.
OPTIONAL_PATTERNS = ("readme/README_*.md",)


def package_contents(root: Path) -> dict[str, Path]:
    """The model plugin's files: their names in its package and where they are under `root`, a checkout.

    Raises PackageError where something that every package needs is missing.
    """
    return _contents(root, PATTERNS, OPTIONAL_PATTERNS)


def tools_contents(root: Path) -> dict[str, Path]:
    """The files of Clawback Tools, as `package_contents` has those of the model plugin. Raises PackageError."""
    return _contents(root, TOOLS_PATTERNS)


def _contents(root: Path, patterns: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Path]:
    contents: dict[str, Path] = {}
    for pattern in (*patterns, *optional):
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found and pattern not in optional:
            raise PackageError(f"{root} has no {pattern}. Run this in a checkout of Clawback.")
        contents |= {_name(path.relative_to(root)): path for path in found}
    # The bridge uses modules of `tools` that the plugins do not.
    sources = [path for path in contents.values() if path.suffix == ".py"]
    return contents | {path.relative_to(root).as_posix(): path for path in imported(root, sources)}


def _name(path: Path) -> str:
    return path.as_posix().removeprefix(PROJECT_FOLDER).removeprefix(TOOLS_FOLDER)


def packed(path: Path) -> bytes:
    """Return a file as the package has it: a module without comments, and docstrings of classes, functions and names.

    They are a sixth of the package, and for who reads the repository. Lines keep their numbers, so that a traceback of
    the plugin names those of the repository.
    """
    data = path.read_bytes()
    if path.suffix != ".py":
        return data
    lines = data.decode().split("\n")
    for token in tokenize.tokenize(io.BytesIO(data).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    module = ast.parse(data)
    for node in ast.walk(module):
        body = getattr(node, "body", ())
        for said in body if isinstance(body, list) else ():
            if _is_text(said) and said is not module.body[0]:
                blank = ["" for _ in range(said.lineno, (said.end_lineno or said.lineno) + 1)]
                if len(body) == 1:
                    blank[0] = " " * said.col_offset + "..."
                lines[said.lineno - 1 : said.end_lineno] = blank
    return "\n".join(lines).encode()


def _is_text(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Constant(str())):
            return True
    return False


_STORED = 0
_DEFLATED = 8
_VERSION = 20
_UNIX = 3 << 8
_READABLE_FILE = 0o100644 << 16
# The earliest time that an entry can carry: 1980-01-01.
_EPOCH = 1 << 5 | 1


def archive(contents: Mapping[str, Path]) -> bytes:
    """The zip file of `contents`, which names the entries and says where their files are. Takes some seconds."""
    return _zipped({name: packed(path) for name, path in contents.items()}, _DEFLATED)


def stored(contents: Mapping[str, bytes]) -> bytes:
    """The zip file of `contents`, which holds the bytes of each entry: most of them are deflated already."""
    return _zipped(contents, _STORED)


def _zipped(contents: Mapping[str, bytes], method: int) -> bytes:
    files, directory = bytearray(), bytearray()
    for name, data in sorted(contents.items()):
        entry, offset = name.encode("ascii"), len(files)
        kept = _deflated(data) if method == _DEFLATED else data
        fields = struct.pack(
            "<HHHHHIIIHH",
            *(_VERSION, 0, method, 0, _EPOCH, zlib.crc32(data), len(kept), len(data), len(entry), 0),
        )
        files += b"PK\3\4" + fields + entry + kept
        directory += struct.pack("<4sH", b"PK\1\2", _UNIX | _VERSION) + fields
        directory += struct.pack("<HHHII", 0, 0, 0, _READABLE_FILE, offset) + entry
    end = (0, 0, len(contents), len(contents), len(directory), len(files), 0)
    return bytes(files + directory) + struct.pack("<4sHHHHIIH", b"PK\5\6", *end)


def _deflated(data: bytes) -> bytes:
    try:
        # An installed Clawback has the package already, and no Zopfli.
        from zopfli.zlib import compress  # type: ignore[import-untyped]
    except ImportError:
        raise PackageError("Zopfli is missing, which compresses the package. Run scripts/bootstrap.") from None
    # Without zlib's header and checksum.
    return bytes(compress(data, numiterations=5)[2:-4])
