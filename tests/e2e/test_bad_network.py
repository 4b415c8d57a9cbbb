"""What becomes of a turn, and of the bridge, when the network between them and their clients is bad."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo.local_tools import DEFINITIONS
from demo.service import children
from demo.stack import Stack
from tests.e2e.conftest import call, upstream_log, workflow_runs
from tests.e2e.wire import Cable, Wire, asking, concurrently, header, request, said, session_lines

DONE = b"data: [DONE]"
KEPT = 1024 * 1024
ARRIVAL = 3


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """The cable between the bridge and Dify."""
    made = Cable()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, cable: Cable) -> Iterator[Stack]:
    """A stack with limits that a test can reach, which talks to its Dify through the cable."""
    limits = {
        "keepalive_seconds": 0.5,
        "grace_seconds": 2,
        "request_seconds": ARRIVAL,
        "stalled_seconds": 3,
        "request_bytes": KEPT,
    }
    through = {"base_url": f"http://127.0.0.1:{cable.port}/v1"}
    folder = tmp_path_factory.mktemp("bad-network")
    with Stack(folder, apps=["minimal"], bridge_settings=limits, app_settings=through) as running:
        cable.target = int(running.box_url.rpartition(":")[2])
        yield running


def eventually(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


# The same request, twice


def test_a_request_that_is_sent_twice_joins_the_run_and_receives_all_of_it(stack: Stack) -> None:
    sent = request(stack, asking("Sent twice.\n!say one\n!sleep 1\n!say two"), *session_lines("sent-twice"))
    with Wire(stack) as first, Wire(stack) as second:
        first.send(sent)
        first.until(b"one")
        second.send(sent)
        answers = [wire.until(DONE) for wire in (first, second)]
    assert [said(answer) for answer in answers] == ["one\ntwo"] * 2
    assert len({header(answer, "x-clawback-run") for answer in answers}) == 1
    assert len(upstream_log(stack, "Sent twice.")) == 1


def test_a_retry_header_proves_nothing_while_the_first_connection_lives(stack: Stack) -> None:
    body = asking("Tried again.\n!say one\n!sleep 1\n!say two")
    with Wire(stack) as first, Wire(stack) as second:
        first.send(request(stack, body, "X-Stainless-Retry-Count: 0"))
        first.until(b"one")
        second.send(request(stack, body, "X-Stainless-Retry-Count: 1"))
        answers = [wire.until(DONE) for wire in (first, second)]
    assert [said(answer) for answer in answers] == ["one\ntwo"] * 2
    assert len({header(answer, "x-clawback-run") for answer in answers}) == 2
    assert len(upstream_log(stack, "Tried again.")) == 2


def test_two_clients_who_happen_to_say_the_same_do_not_join(stack: Stack) -> None:
    sent = request(stack, asking("The same words.\n!sleep 0.5\n!say hello"))
    with Wire(stack) as first, Wire(stack) as second:
        first.send(sent)
        second.send(sent)
        answers = [wire.until(DONE) for wire in (first, second)]
    assert len({header(answer, "x-clawback-run") for answer in answers}) == 2


# A client that vanishes


@pytest.mark.parametrize("session", [session_lines("vanished"), ["X-No-Session: at-all"]])
def test_who_vanishes_amid_the_answer_and_returns_in_time_loses_nothing(stack: Stack, session: list[str]) -> None:
    sent = request(stack, asking(f"Vanishing with {session}.\n!say one\n!sleep 0.7\n!say two"), *session)
    first = Wire(stack)
    first.send(sent)
    run = header(first.until(b"one"), "x-clawback-run")
    first.vanish()
    eventually(lambda: [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"], "the run did not go on")
    with Wire(stack) as second:
        second.send(sent)
        answer = second.until(DONE)
    assert (said(answer), header(answer, "x-clawback-run")) == ("one\ntwo", run)
    assert len(upstream_log(stack, f"Vanishing with {session}.")) == 1


def test_who_waits_for_a_whole_body_and_vanishes_loses_nothing_either(stack: Stack) -> None:
    sent = request(stack, asking("A whole body.\n!sleep 1.5\n!say whole", stream=False), *session_lines("body"))
    first = Wire(stack)
    first.send(sent)
    eventually(lambda: bool(upstream_log(stack, "A whole body.")), "the run did not begin")
    first.vanish()
    with Wire(stack) as second:
        second.send(sent)
        assert second.body()["choices"][0]["message"]["content"] == "whole"
    assert len(upstream_log(stack, "A whole body.")) == 1


IN_EACH_LANGUAGE: dict[str, dict[str, object]] = {
    "chat/completions": {},
    "responses": {"messages": None, "store": False},
    "messages": {"max_tokens": 100},
}


def unnamed(stack: Stack, path: str, text: str) -> bytes:
    """Return a request that streams and does not say of which conversation it is."""
    more = IN_EACH_LANGUAGE[path] | ({"input": text} if path == "responses" else {})
    return request(stack, asking(text, **more), path=f"/v1/{path}")


@pytest.mark.parametrize("path", IN_EACH_LANGUAGE)
@pytest.mark.parametrize(("left", "back"), [(0.0, 0.0), (0.02, 0.0), (0.3, 0.0), (0.3, 0.5)])
def test_who_was_cut_off_before_the_first_word_gets_the_same_answer(
    stack: Stack, path: str, left: float, back: float
) -> None:
    words = f"Before a word, {path}, {left}, {back}."
    sent = unnamed(stack, path, f"{words}\n!sleep 1.5\n!say once")
    first = Wire(stack)
    first.send(sent)
    time.sleep(left)
    first.vanish()
    time.sleep(back)
    with Wire(stack) as second:
        second.send(sent)
        second.until(b"once")
    assert len(upstream_log(stack, words)) == 1


@pytest.mark.parametrize("path", IN_EACH_LANGUAGE)
def test_nobody_gets_the_answer_of_another_who_still_waits_for_the_first_word(stack: Stack, path: str) -> None:
    sent = unnamed(stack, path, f"Who waits, {path}.\n!sleep 2.5\n!say mine")
    first = Wire(stack)
    first.send(sent)
    time.sleep(0.3)
    first.vanish()
    with Wire(stack) as second, Wire(stack) as other:
        second.send(sent)
        time.sleep(0.2)
        other.send(sent)
        runs = [header(wire.until(b"mine"), "x-clawback-run") for wire in (second, other)]
    assert len({*runs}) == len(upstream_log(stack, f"Who waits, {path}.")) == 2


def test_the_same_words_after_a_whole_answer_are_a_new_turn(stack: Stack) -> None:
    sent = request(stack, asking("Once more.\n!say again"), *session_lines("regenerate"))
    for _ in range(2):
        with Wire(stack) as wire:
            wire.send(sent)
            assert said(wire.until(DONE)) == "again"
    assert len(upstream_log(stack, "Once more.")) == 2


def test_a_client_that_does_not_return_frees_difys_worker_after_the_grace_time(stack: Stack) -> None:
    wire = Wire(stack)
    wire.send(request(stack, asking("For nobody.\n!say one\n!sleep 25\n!say two"), *session_lines("nobody")))
    run = header(wire.until(b"one"), "x-clawback-run")
    wire.vanish()
    eventually(lambda: [row["status"] for row in workflow_runs(stack, run)] == ["stopped"], "the task was not stopped")


def test_a_client_that_leaves_before_its_stream_begins_is_noticed_too(stack: Stack) -> None:
    with closing(stack.store()) as store:
        known = set(store.run_ids())
        os.kill(stack.box.pid, signal.SIGSTOP)
        try:
            wire = Wire(stack)
            wire.send(request(stack, asking("!sleep 25\n!say one"), *session_lines("early")))
            eventually(lambda: bool(set(store.run_ids()) - known), "no run began")
            wire.vanish()
            time.sleep(2.5)  # for so long the bridge waits for a first event
        finally:
            os.kill(stack.box.pid, signal.SIGCONT)
        (run_id,) = set(store.run_ids()) - known
        eventually(lambda: (run := store.run(run_id)) is not None and run.state == "cancelled", "nobody has noticed")


# A client that reads slowly, or not at all


def resident(stack: Stack) -> int:
    """How much memory the bridge's worker holds, in bytes."""
    (worker,) = children(stack.bridge.pid)
    pages = Path(f"/proc/{worker}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.xfail(strict=False, reason="on a busy machine the bridge grows by 17 MB instead of 7: not understood yet")
def test_slow_readers_of_a_long_answer_hold_no_memory_of_their_own(stack: Stack) -> None:
    long = "word " * 100_000
    sent = request(stack, asking(f"Long.\n!delta 4000\n!say {long}"), *session_lines("slow"))
    with Wire(stack) as wire:
        wire.send(sent)
        wire.until(b"word")
        before = resident(stack)
        slow = [Wire(stack, takes=4096) for _ in range(40)]
        for reader in slow:
            reader.send(sent)
        assert said(wire.until(DONE)).strip() == long.strip()
        grown = resident(stack) - before
        for reader in slow:
            reader.vanish()
    # Forty copies would be 20 MB, as text alone.
    assert grown < 10 * 1024 * 1024, f"{grown / 1024**2:.1f} MB"


def test_who_takes_nothing_is_let_go_and_gets_all_of_it_when_it_returns(stack: Stack) -> None:
    long = "line " * 100_000
    sent = request(stack, asking(f"Stalled.\n!delta 8000\n!say {long}"), *session_lines("stalled"))
    with Wire(stack, takes=4096) as stalled:
        stalled.send(sent)
        run = header(stalled.until(b"line"), "x-clawback-run")
        eventually(lambda: [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"], "Dify is held up")
        eventually(lambda: _stuck(stack) == 1, "everything was taken at once")
        eventually(lambda: _stuck(stack) == 0, "it was not let go")
        with Wire(stack) as wire:
            wire.send(sent)
            assert said(wire.until(DONE)).strip() == long.strip()
    assert len(upstream_log(stack, "Stalled.")) == 1


def _stuck(stack: Stack) -> int:
    """How many connections of clients the bridge holds whose kernel buffers are full."""
    port = f":{int(stack.bridge_url.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" and int(row[4].partition(":")[0], 16) > 0 for row in rows)


# What is no proper request


def ends(stack: Stack, data: bytes, *, trickle: bytes = b"") -> Callable[[], tuple[bytes, float]]:
    """Send `data`, then the bytes of `trickle` one by one; return what came and how long the connection stood."""

    def work() -> tuple[bytes, float]:
        begun = time.monotonic()
        with Wire(stack) as wire:
            wire.send(data)
            wire.trickle(trickle, 0.2)
            return wire.rest(), time.monotonic() - begun

    return work


NO_SIZES = (b"", b"ZZ", b"-2", b"+2", b"0x2", b"2_0", b" 2", b"2 ", "\u0662".encode(), b"2;\x01")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(stack: Stack, chunks: bytes) -> bytes:
    head = request(stack, b"").partition(b"\r\n\r\n")[0]
    return head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"\r\n\r\n" + chunks


def test_a_body_in_chunks_may_have_extensions_and_a_trailer(stack: Stack) -> None:
    body = asking("In chunks.\n!say whole", stream=False)
    first = chunk(body[:9]).replace(b"\r\n", b';n="v"\r\n', 1)
    with Wire(stack) as wire:
        wire.send(chunked(stack, first + chunk(body[9:]) + b"0\r\nX-Sum: 1\r\n\r\n"))
        assert wire.body()["choices"][0]["message"]["content"] == "whole"


def test_half_slow_and_broken_requests_end_in_time_and_hurt_nobody_else(stack: Stack) -> None:
    user = {"role": "user", "content": f"Waiting ticket.\n{call('exec', command='x')}\n!then\n!say survived"}
    session = session_lines("waiting-ticket")
    with Wire(stack) as wire:
        wire.send(request(stack, asking(user["content"], tools=DEFINITIONS, stream=False), *session))
        answer = wire.body()
    (worker,) = children(stack.bridge.pid)

    body = asking("Never mind.")
    whole = request(stack, body)
    head = whole.partition(b"\r\n\r\n")[0]
    broken = {
        "nothing": ends(stack, b""),
        "half a head": ends(stack, head[:60]),
        "a slow head": ends(stack, b"", trickle=head),
        "half a body": ends(stack, whole[:-10]),
        "a slow body": ends(stack, head + b"\r\n\r\n", trickle=body),
        "a length too great": ends(stack, request(stack, body, length=len(body) + 50)),
        "a length too small": ends(stack, request(stack, body, length=len(body) - 9)),
        "no number for a length": ends(stack, whole.replace(b"Content-Length: ", b"Content-Length: x")),
        "a negative length": ends(stack, whole.replace(b"Content-Length: ", b"Content-Length: -")),
        "two lengths": ends(stack, request(stack, body, "Content-Length: 3")),
        "broken chunks": ends(
            stack, head.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX-Was") + b"\r\n\r\nzz"
        ),
        **{f"a chunk of {size!r}": ends(stack, chunked(stack, size + b"\r\n{}\r\n0\r\n\r\n")) for size in NO_SIZES},
        "a chunk without its end": ends(stack, chunked(stack, b"2\r\n{}0\r\n\r\n")),
        "a trailer that is none": ends(stack, chunked(stack, chunk(body) + b"0\r\nX Sum 1\r\n\r\n")),
        "a broken chunk that nobody reads": ends(
            stack, b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n"
        ),
        "garbage": ends(stack, bytes(range(256)) * 40),
        "a TLS greeting": ends(stack, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
        "an endless head": ends(stack, b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000),
        "many headers": ends(stack, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5_000),
        "a body that says it is too large": ends(stack, request(stack, b"{", length=KEPT + 1)),
        "a body that is too large": ends(stack, request(stack, b"x" * (KEPT + 1))),
    }
    outcomes = dict(zip(broken, concurrently(*broken.values()), strict=True))
    slowest = max(outcomes, key=lambda name: outcomes[name][1])
    assert outcomes[slowest][1] < 4 * ARRIVAL, (slowest, outcomes[slowest])
    for name in ("half a body", "a slow body", "a length too great"):
        assert b" 408 " in outcomes[name][0], (name, outcomes[name])
        assert b'"request_timeout"' in outcomes[name][0], (name, outcomes[name])
    for name in ("a body that says it is too large", "a body that is too large"):
        assert b" 413 " in outcomes[name][0], (name, outcomes[name])
    assert not any(b" 500 " in received for received, _ in outcomes.values())
    for name in [name for name in outcomes if name.startswith(("a chunk", "a trailer"))]:
        assert b" 400 " in outcomes[name][0], (name, outcomes[name])
        assert b'"invalid_body"' in outcomes[name][0], (name, outcomes[name])
    assert outcomes["a broken chunk that nobody reads"][0].count(b"HTTP/1.1") == 1
    assert "Traceback" not in stack.bridge.log.read_text()

    assert children(stack.bridge.pid) == [worker]
    made = answer["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": "ok"}
    follow_up = {"model": "minimal", "messages": [user, made, result], "tools": DEFINITIONS, "stream": True}
    with Wire(stack) as wire:
        wire.send(request(stack, json.dumps(follow_up).encode(), *session))
        assert said(wire.until(DONE)) == "survived"


# Between the bridge and Dify


def test_an_answer_that_breaks_off_between_dify_and_the_bridge_still_arrives_whole(stack: Stack, cable: Cable) -> None:
    with Wire(stack) as wire:
        wire.send(request(stack, asking("Cut.\n!say one\n!sleep 1\n!say two\n!sleep 0.5\n!say three")))
        run = header(wire.until(b"one"), "x-clawback-run")
        cable.cut()
        assert said(wire.until(DONE)) == "one\ntwo\nthree"
    assert [row["status"] for row in workflow_runs(stack, run)] == ["succeeded"]
    assert len(upstream_log(stack, "Cut.")) == 1
