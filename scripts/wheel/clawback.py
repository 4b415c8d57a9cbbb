"""What users of the installed package write: `from clawback import tool`. See `executor`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from executor import tool

__all__ = ["tool"]


def __getattr__(name: str) -> object:
    # Late, as every command passes through here and few of them need it.
    if name == "tool":
        from executor import tool

        return tool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
