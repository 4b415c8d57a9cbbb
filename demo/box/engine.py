"""One execution of an app's graph by graphon, set up as Dify sets it up.

Sources: core/app/apps/advanced_chat/app_runner.py, core/workflow/workflow_entry.py.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from graphon.graph.graph import Graph
from graphon.runtime.variable_pool import VariablePool

from demo.box.app_export import App
from demo.box.config import Limits
from demo.box.engine_names import (
    IS_NEW,
    ExecutionLimitsLayer,
    GraphEngine,
    GraphEngineEvent,
    GraphEventFilterContext,
    GraphInitParams,
    GraphRunFailedEvent,
    GraphRuntimeState,
    InMemoryChannel,
    ResponseStreamFilter,
    filter_graph_events,
)
from demo.box.model import Caller, ModelCatalogue
from demo.box.node_factory import BoxNodeFactory, MakeDecision
from demo.box.ready_queue import PatientReadyQueue
from demo.box.store import Message

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one execution starts from. `system` and `conversation` hold the `sys.*` and `conversation.*` variables."""

    system: Mapping[str, Any]
    inputs: Mapping[str, Any]
    conversation: Mapping[str, Any]
    messages: Callable[[], list[Message]] | None


class Execution:
    """An app's graph, ready to run, and to run on where it paused. Raises ValueError when a node cannot be built."""

    def __init__(
        self, app: App, turn: Turn, models: ModelCatalogue, caller: Caller, limits: Limits, decisions: MakeDecision
    ) -> None:
        graph_config = deepcopy(app.graph)
        self.state = _new_state(_variables(app, turn), time.time(), app.workflow_id)
        parameters = GraphInitParams(
            workflow_id=app.workflow_id, graph_config=graph_config, run_context={}, call_depth=0
        )

        def nodes(parameters: GraphInitParams, state: GraphRuntimeState) -> BoxNodeFactory:
            return BoxNodeFactory(
                graph_init_params=parameters,
                graph_runtime_state=state,
                models=models,
                caller=caller,
                messages=turn.messages,
                decisions=decisions,
            )

        graph = Graph.init(
            graph_config=graph_config, node_factory=nodes(parameters, self.state), root_node_id=app.root_node_id
        )
        self._engine = _new_engine(app.workflow_id, graph, self.state, nodes)
        limit = ExecutionLimitsLayer(max_steps=limits.workflow_steps, max_time=limits.workflow_seconds)
        (self._engine.add_layer if IS_NEW else self._engine.layer)(limit)
        self._said_before: str | None = None

    def events(self) -> Iterator[GraphEngineEvent]:
        """Run the graph, on from where it paused. The last event says how it ended; a failure is no exception."""
        context = GraphEventFilterContext.from_engine(self._engine)
        answers = ResponseStreamFilter()
        if self._said_before:
            answers.loads(self._said_before)
        try:
            yield from filter_graph_events(self._engine.run(), context=context, filters=[answers])
            self._said_before = answers.dumps()
        except Exception as error:
            logger.debug("a run failed", exc_info=True)
            yield GraphRunFailedEvent(error=str(error))

    def abort(self, reason: str) -> None:
        """Ask the engine to end. It notices within 0.2 s; a node that is calling its model goes on unheard."""
        self._engine.request_abort(reason)

    def conversation_variables(self, names: Mapping[str, Any]) -> dict[str, Any]:
        """The conversation variables as they now are."""
        values = {name: self.state.variable_pool.get(("conversation", name)) for name in names}
        return {name: value.to_object() for name, value in values.items() if value is not None}


def _new_state(variables: VariablePool, start_at: float, workflow_id: str) -> GraphRuntimeState:
    own: dict[str, Any] = {"workflow_id": workflow_id} if IS_NEW else {"ready_queue": PatientReadyQueue()}
    return GraphRuntimeState(variable_pool=variables, start_at=start_at, **own)


def _new_engine(workflow_id: str, graph: Graph, state: GraphRuntimeState, nodes: "MakeNodes") -> Any:
    """Return an engine with Dify's three workers, which 0.6 may scale up (GRAPH_ENGINE_*)."""
    if IS_NEW:
        new: Any = GraphEngine
        return new(graph=graph, runtime_state=state, command_channel=InMemoryChannel(), workers=3)
    from graphon.graph_engine.config import GraphEngineConfig

    return GraphEngine(
        workflow_id=workflow_id,
        graph=graph,
        graph_runtime_state=state,
        command_channel=InMemoryChannel(),
        config=GraphEngineConfig(min_workers=3, max_workers=10, scale_up_threshold=3, scale_down_idle_time=5.0),
        child_engine_builder=_ChildEngines(nodes),
    )


MakeNodes = Callable[[GraphInitParams, GraphRuntimeState], BoxNodeFactory]


class _ChildEngines:
    """Makes the engine of each round of an iteration or a loop. Source: core/workflow/workflow_entry.py."""

    def __init__(self, nodes: MakeNodes) -> None:
        self._nodes = nodes

    def build_child_engine(
        self,
        *,
        workflow_id: str,
        graph_init_params: GraphInitParams,
        parent_graph_runtime_state: GraphRuntimeState,
        root_node_id: str,
        variable_pool: VariablePool | None = None,
    ) -> GraphEngine:
        """Return an engine that begins at the container's first node."""
        pool = variable_pool or parent_graph_runtime_state.variable_pool
        state = _new_state(pool, time.perf_counter(), workflow_id)
        graph = Graph.init(
            graph_config=graph_init_params.graph_config,
            node_factory=self._nodes(graph_init_params, state),
            root_node_id=root_node_id,
        )
        engine: GraphEngine = _new_engine(workflow_id, graph, state, self._nodes)
        return engine


def _variables(app: App, turn: Turn) -> VariablePool:
    pool = VariablePool()
    for namespace, values in (
        ("sys", turn.system),
        ("env", app.environment),
        ("conversation", turn.conversation),
        (app.root_node_id, turn.inputs),
    ):
        for name, value in values.items():
            pool.add((namespace, name), value)
    return pool
