"""The configuration file on disk, which only its owner can read."""

import contextlib
import os
import tempfile
from pathlib import Path

from bridge.commands.init.errors import SetupError

OWNER_ONLY = 0o600


def read(path: Path) -> str | None:
    """Return the file's text, None where there is none. Raises SetupError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from None


def write(path: Path, text: str) -> None:
    """Put `text` in the place of the file, as a whole or not at all. Raises SetupError."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file made by mkstemp has the mode 0600 from its beginning.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error}. Choose another place with --config") from None


def is_private(path: Path) -> bool:
    """Say whether only its owner may read the file. Where modes mean nothing (Windows), it counts as private."""
    return os.name != "posix" or not path.stat().st_mode & 0o077
