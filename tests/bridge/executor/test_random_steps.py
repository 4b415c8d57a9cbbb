"""Random steps of everyone who has to do with tickets, on a real database file, with kills between its transactions."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection

from bridge.app import create_app
from bridge.config import parse
from bridge.store.keys import ExecutorStatements
from tests.bridge.executor.conftest import EXEC, READ, Answer, Bridge
from tests.schedules.trail import breaks_in_trail
from tools.ids import new_tool_call_id, random_name
from tools.ticket_states import PENDING, CallState
from tools.tokens import hash_token, new_token

TOKENS = {audience: new_token(audience) for audience in ("client", "plugin", "executor", "operator")}
LIMITS = {"lease_seconds": 10, "handouts": 3, "approval_seconds": 100, "ticket_seconds": 500, "identical_calls": 1000}
NAMES = ("laptop", "desktop", "prod")
POLICY = """
[[rules]]
executor = "prod"
action = "deny"

[[rules]]
executor = "desktop"
action = "ask"
"""
OUTPUTS = st.sampled_from(["one", "two"])
PLACES = st.integers(0, 20)


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Kills the process at the transaction that it is set to, just before or just after that is written."""

    def __init__(self) -> None:
        self._left = 0
        self._written = False

    def set(self, transactions: int, *, written: bool) -> None:
        self._left, self._written = transactions, written

    def around(self, whole: AbstractContextManager[Connection]) -> AbstractContextManager[Connection]:
        return self._around(whole)

    @contextmanager
    def _around(self, whole: AbstractContextManager[Connection]) -> Iterator[Connection]:
        self._left -= 1
        now = self._left == 0
        with whole as connection:
            yield connection
            if now and not self._written:
                raise Killed
        if now:
            raise Killed


class Steps(RuleBasedStateMachine):
    """The plugin opens tickets, executors run calls or may not, someone decides, time passes, the bridge is killed."""

    database_url: Callable[[], str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._database = self.database_url() if self.database_url else None
        self._fuse = Fuse()
        self._bridge = self._start()
        self._executors: dict[str, str] = {}
        self._tickets: dict[str, list[str]] = {}
        self._leases: list[tuple[str, str, str]] = []
        self._accepted: dict[str, str] = {}
        self._later = 0.0

    def teardown(self) -> None:
        self._fuse.set(0, written=False)
        try:
            self._bridge.later(self._later + 1000)
            self._bridge.later(self._later + 2000)
            assert self._bridge.store.tickets("open") == []
        finally:
            self._stop()
            self._folder.cleanup()

    def _start(self) -> Bridge:
        hashes = {audience: hash_token(token) for audience, token in TOKENS.items()}
        values = {"data_dir": self._folder.name, "tokens": hashes, "limits": LIMITS, "database_url": self._database}
        policy = Path(self._folder.name) / "policy.toml"
        policy.write_text(POLICY)
        values["policy"] = str(policy)
        config = parse(values)
        bridge = Bridge(create_app(config), config, TOKENS)
        bridge.app.extensions["clawback"].sweeper.stop()
        whole = bridge.store.transaction
        bridge.store.transaction = lambda: self._fuse.around(whole())  # type: ignore[method-assign]
        bridge.store.executors = ExecutorStatements(bridge.store.transaction, bridge.store.reading)
        return bridge

    def _stop(self) -> None:
        self._fuse.set(0, written=False)
        self._bridge.store.close()

    def _ask(self, audience: str, method: str, path: str, body: object = None) -> Answer:
        """Ask; where the bridge is killed over it, start it again and send the same once more."""
        try:
            answer = self._bridge.ask(audience, method, path, body)
        except Killed:
            self._start_again()
            answer = self._bridge.ask(audience, method, path, body)
        assert answer.status < 500, answer.body
        return answer

    def _call(self, place: int) -> str:
        calls = [call for calls in self._tickets.values() for call in calls]
        return calls[place % len(calls)]

    # What happens

    @initialize()
    def executors_come(self) -> None:
        for name in NAMES:
            self.an_executor_comes(name)

    @rule(name=st.sampled_from(NAMES))
    def an_executor_comes(self, name: str) -> None:
        body = {"name": name, "tools": [READ, EXEC]}
        self._executors[name] = self._ask("executor", "POST", "/executors", body).body["executor_id"]

    @rule(tools=st.lists(st.sampled_from(["read", "exec"]), min_size=1, max_size=3))
    def a_ticket_is_opened(self, tools: list[str]) -> None:
        invocation = random_name()
        attach = {"invocation_id": invocation, "fingerprint": invocation, "model": "main", "user": "someone"}
        run = self._ask("plugin", "POST", "/attach", attach).body["run_id"]
        if run is None:
            return
        calls = [{"id": new_tool_call_id(), "name": tool, "arguments": "{}"} for tool in tools]
        body = {"run_id": run, "invocation_id": invocation, "round": 0, "calls": calls}
        ticket = f"{invocation}r0"
        assert self._ask("plugin", "PUT", f"/tickets/{ticket}", body).body["state"] == "open"
        self._tickets[ticket] = [str(call["id"]) for call in calls]

    @rule(name=st.sampled_from(NAMES), most=st.integers(1, 3))
    def calls_are_claimed(self, name: str, most: int) -> None:
        answer = self._ask("executor", "POST", f"/executors/{self._executors[name]}/claim", {"max": most})
        for call in answer.body.get("calls", ()):
            assert name != "prod", "it is denied everything"
            if name == "desktop":
                found = self._peek(lambda: self._bridge.store.call(call["tool_call_id"]))  # noqa: B023
                assert found
                assert name in found[1].grants(), "a person was not asked about it"
            self._leases.append((name, call["lease_id"], call["tool_call_id"]))

    @precondition(lambda self: self._leases)
    @rule(place=PLACES, output=OUTPUTS)
    def a_result_is_posted(self, place: int, output: str) -> None:
        name, lease, call = self._leases[place % len(self._leases)]
        result = {"lease_id": lease, "tool_call_id": call, "output": output}
        answer = self._ask("executor", "POST", f"/executors/{self._executors[name]}/results", {"results": [result]})
        self._note(call, output, answer)

    @precondition(lambda self: self._leases)
    @rule(place=PLACES, output=OUTPUTS, what=st.sampled_from(["results", "extend", "let_go"]))
    def an_executor_uses_the_lease_of_another(self, place: int, output: str, what: str) -> None:
        name, lease, call = self._leases[place % len(self._leases)]
        thief = self._executors[next(other for other in NAMES if other != name)]
        before = self._peek(lambda: self._bridge.store.call(call))
        result = {"lease_id": lease, "tool_call_id": call, "output": output}
        body = {"results": [result]} if what == "results" else {"leases": [lease]}
        answer = self._ask("executor", "POST", f"/executors/{thief}/{what}", body)
        assert answer.status in ({404, 409, 410} if what == "results" else {200, 410}), answer.body
        assert answer.body.get("until", {}) == {}
        assert self._peek(lambda: self._bridge.store.call(call)) == before

    def _note(self, call: str, output: str, answer: Answer) -> None:
        if answer.status == 200:
            assert self._accepted.setdefault(call, output) == output, "two results were accepted"
        else:
            assert answer.status in {404, 409, 410}, answer.body

    @precondition(lambda self: self._leases)
    @rule(place=PLACES, what=st.sampled_from(["extend", "let_go"]))
    def a_lease_is_kept_or_given_back(self, place: int, what: str) -> None:
        name, lease, _ = self._leases[place % len(self._leases)]
        self._ask("executor", "POST", f"/executors/{self._executors[name]}/{what}", {"leases": [lease]})

    @precondition(lambda self: self._tickets)
    @rule(place=PLACES, what=st.sampled_from(["approve", "deny"]))
    def someone_decides(self, place: int, what: str) -> None:
        self._ask("operator", "POST", f"/calls/{self._call(place)}/{what}", {"by": "ann", "reason": "no"})

    @precondition(lambda self: self._tickets)
    @rule(place=PLACES)
    def the_plugin_lets_go(self, place: int) -> None:
        ticket = list(self._tickets)[place % len(self._tickets)]
        self._ask("plugin", "POST", f"/tickets/{ticket}/cancel", {"reason": "enough"})

    @rule(seconds=st.sampled_from([1, 12, 30, 120]))
    def time_passes(self, seconds: int) -> None:
        self._later = max(self._later, seconds)
        try:
            self._bridge.later(seconds)
        except Killed:
            self._start_again()

    def _start_again(self) -> None:
        self._stop()
        self._bridge = self._start()

    @rule(transactions=st.integers(1, 40), written=st.booleans())
    def the_next_request_is_deadly(self, transactions: int, written: bool) -> None:
        self._fuse.set(transactions, written=written)

    # What holds

    @invariant()
    def everything_is_as_its_trail_says(self) -> None:
        tickets, events = self._peek(lambda: (self._bridge.store.tickets(limit=1000), self._bridge.store._events()))
        assert list(breaks_in_trail(tickets, events)) == []
        calls = {call.id: call for ticket in tickets for call in ticket.calls}
        for call_id, output in self._accepted.items():
            assert (calls[call_id].output, calls[call_id].state) == (output, CallState.RESOLVED)
        for ticket in tickets:
            assert (ticket.state == "open") == any(CallState(call.state) in PENDING for call in ticket.calls)

    def _peek[Found](self, look: Callable[[], Found]) -> Found:
        """Look without burning the fuse."""
        left, written = self._fuse._left, self._fuse._written
        self._fuse.set(0, written=False)
        try:
            return look()
        finally:
            self._fuse.set(left, written=written)


TestSteps = Steps.TestCase
TestSteps.settings = settings(max_examples=12, stateful_step_count=40)
