"""The drawn pictures are sound, small, and say what they show to those who cannot see them."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("picture", sorted(PICTURES.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture(picture: Path) -> None:
    assert picture.stat().st_size < 20_000
    root = ElementTree.parse(picture).getroot()
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    assert not [each for each in root.iter() if each.tag in {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"}]
    assert min(float(each.get("font-size", "99")) for each in root.iter(f"{SVG}text")) >= 12


def test_light_and_dark_say_the_same() -> None:
    def words(name: str) -> list[str]:
        return ["".join(each.itertext()) for each in ElementTree.parse(PICTURES / name).getroot().iter(f"{SVG}text")]

    assert words("overview-light.svg") == words("overview-dark.svg")
