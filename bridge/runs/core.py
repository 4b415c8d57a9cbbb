"""The core, made once for each process: what the rest of the bridge is given of it."""

from bridge.config import Config
from bridge.runs.dify_slots import DifySlots
from bridge.runs.executors.dify_tools import DifyExecutors
from bridge.runs.executors.leases import Leases
from bridge.runs.executors.mcp_calls import McpCalls
from bridge.runs.executors.registry import Registry
from bridge.runs.executors.resuming import Resuming
from bridge.runs.executors.runs import ExecutorRuns
from bridge.runs.executors.trials import Trials
from bridge.runs.forms import Forms
from bridge.runs.live import LiveRuns
from bridge.runs.observing.observed_store import Figures
from bridge.runs.observing.observers import Observers
from bridge.runs.recorded import Recorded
from bridge.runs.runs import Runs
from bridge.runs.services import Services
from bridge.runs.sessions.conversations import Conversations
from bridge.runs.sweeper import Sweeper
from bridge.runs.tickets.admission import Admission
from bridge.runs.tickets.approvals import Approvals
from bridge.runs.tickets.attach import Invocations
from bridge.runs.tickets.policy import Policy
from bridge.runs.tickets.tickets import Tickets
from bridge.runs.watchdogs import PluginWatchdog, WorkerWatchdog
from bridge.store.store import Store
from bridge.store.wakeups import Wakeups


class Core:
    """All parts, each made with those before it: none calls one that comes after it."""

    def __init__(
        self,
        config: Config,
        store: Store,
        wakeups: Wakeups | None = None,
        observers: Observers | None = None,
    ) -> None:
        wakeups = Wakeups() if wakeups is None else wakeups
        self.services = Services(config, store, wakeups, observers or Observers())
        self.live_runs = LiveRuns(self.services)
        self.slots = DifySlots(self.services, self.live_runs)
        self.recorded = Recorded(self.services)
        self.forms = Forms(self.services)
        self.runs = Runs(self.services, self.live_runs, self.slots, self.forms)
        self.conversations = Conversations(self.services, self.live_runs, self.runs)
        self.registry = Registry(config, store)
        self.admission = Admission(config, self.registry, Policy.load(config.policy))
        self.resuming = Resuming(self.services, self.slots)
        self.tickets = Tickets(self.services, self.live_runs, self.slots, self.runs, self.admission, self.resuming)
        self.approvals = Approvals(self.services, self.tickets, self.admission)
        self.leases = Leases(self.services, self.registry, self.tickets, self.admission)
        self.dify_executors = DifyExecutors(self.services, self.registry, self.leases)
        self.trials = Trials(self.services, self.slots)
        self.executor_runs = ExecutorRuns(
            self.services, self.live_runs, self.runs, self.registry, self.resuming, self.trials
        )
        self.mcp_calls = McpCalls(self.services, self.runs, self.registry, self.tickets)
        self.invocations = Invocations(self.services, self.live_runs, self.runs, self.executor_runs, self.admission)
        self.figures = Figures(store, config.limits, self.slots, self.registry)
        self.sweeper = Sweeper(
            self.services,
            self.live_runs,
            self.runs,
            self.tickets,
            self.approvals,
            self.leases,
            self.executor_runs,
            [watch(self.services, self.live_runs, self.runs) for watch in (PluginWatchdog, WorkerWatchdog)],
        )

    @property
    def store(self) -> Store:
        return self.services.store

    def reconfigure(self, policy: Policy) -> None:
        """Take what the configuration holds now, and another policy. Runs go on, also of an app that left."""
        self.services.apps.reconfigure()
        self.slots.reconfigure()
        self.admission.policy = policy
        self.dify_executors.reconfigure()
