"""A client's connection is looked at beside the server that reads it."""

import subprocess
import sys

import pytest

from demo.stack import ROOT

LOOKS_WHILE_THE_SERVER_WAITS = """
from gevent import monkey, sleep, spawn
monkey.patch_all()
import socket
from bridge.api.openai.keepalive import is_gone

server, client = socket.socketpair()
read = []

def serve():
    while piece := server.recv(1):
        read.append(piece)

def look():
    for _ in range(2000):
        is_gone(server)
        sleep(0)

serving, looking = spawn(serve), [spawn(look) for _ in range(2)]
for _ in range(500):
    client.send(b"x")
    sleep(0)
for each in looking:
    each.get(timeout=20)
assert not is_gone(server)
client.close()
serving.get(timeout=20)
assert len(read) == 500
assert is_gone(server)
server.close()
assert is_gone(server)
"""


@pytest.mark.parts
def test_to_look_whether_a_client_has_left_disturbs_nobody_who_waits_for_its_next_request() -> None:
    subprocess.run([sys.executable, "-c", LOOKS_WHILE_THE_SERVER_WAITS], check=True, cwd=ROOT, timeout=60)
