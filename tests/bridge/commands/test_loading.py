"""What a bridge loads stays in its memory, and is waited for as it begins."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.parts

LOOK = "import bridge.commands.serve, bridge.app, sys; print(*sys.modules)"


def test_a_bridge_loads_no_room_but_its_own_and_no_command_line_but_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    rooms = {name.partition(".")[0] for name in done.stdout.split()}
    assert "bridge" in rooms
    assert rooms.isdisjoint({"executor", "provider", "demo", "rich", "pygments", "opentelemetry", "psycopg", "redis"})
