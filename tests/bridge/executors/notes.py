"""A module of tools, as a user writes it."""

from pathlib import Path

from pydantic import BaseModel

from executor import tool


class Place(BaseModel):
    city: str
    days: int = 1


@tool(read_only=True)
def shout(text: str, times: int = 1) -> str:
    """Say it louder.

    Args:
        text: what to say
        times: how often
    """
    return " ".join([text.upper()] * times)


@tool
def note(path: str, text: str) -> str:
    """Write a note.

    :param path: where to
    """
    Path(path).write_text(text)
    return "noted"


@tool(name="forecast")
async def predict(place: Place) -> dict[str, object]:
    """Tell the weather."""
    return {"city": place.city, "days": place.days, "weather": "rain"}


@tool
def fail(how: str) -> str:
    """Fail."""
    raise ValueError(how)


@tool
def picture() -> list[dict[str, object]]:
    """Show a picture."""
    return [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]


@tool
def quiet() -> None:
    """Say nothing."""
