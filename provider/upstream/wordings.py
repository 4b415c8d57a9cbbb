"""What upstreams say in words alone, as rows of data."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """What one kind of server says, as a pattern, and an example as it came from one."""

    server: str
    pattern: str
    example: str


def any_of(wordings: Iterable[Wording]) -> re.Pattern[str]:
    """Return the pattern that finds any of the wordings, in capitals or not."""
    return re.compile("|".join(f"(?:{wording.pattern})" for wording in wordings), re.IGNORECASE)
