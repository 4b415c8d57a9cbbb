"""The engine's names, whichever graphon is installed: 0.6, which Dify 1.16 pins, or 0.8, which calls some otherwise."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

IS_NEW = find_spec("graphon.engine") is not None
"""Whether it is 0.8, whose one engine runs iterations and loops itself."""

if TYPE_CHECKING or not IS_NEW:
    from graphon.entities.graph_init_params import GraphInitParams
    from graphon.graph_engine.command_channels import InMemoryChannel
    from graphon.graph_engine.filters import ResponseStreamFilter, filter_graph_events
    from graphon.graph_engine.filters.base import GraphEventFilterContext
    from graphon.graph_engine.graph_engine import GraphEngine
    from graphon.graph_engine.layers.execution_limits import ExecutionLimitsLayer
    from graphon.graph_events.base import GraphEngineEvent, GraphNodeEventBase
    from graphon.graph_events.graph import (
        GraphRunAbortedEvent,
        GraphRunFailedEvent,
        GraphRunPartialSucceededEvent,
        GraphRunPausedEvent,
        GraphRunStartedEvent,
        GraphRunSucceededEvent,
    )
    from graphon.graph_events.node import (
        NodeRunExceptionEvent,
        NodeRunFailedEvent,
        NodeRunReasoningChunkEvent,
        NodeRunRetryEvent,
        NodeRunStartedEvent,
        NodeRunStreamChunkEvent,
        NodeRunSucceededEvent,
    )
    from graphon.runtime.graph_runtime_state import GraphRuntimeState
    from graphon.runtime.variable_pool import VariablePool

    convert_template = VariablePool.convert_template
else:
    from graphon.engine import Engine as GraphEngine
    from graphon.engine.command import InMemoryChannel
    from graphon.engine.filter import (
        EngineEventFilterContext as GraphEventFilterContext,
    )
    from graphon.engine.filter import (
        ResponseStreamFilter,
    )
    from graphon.engine.filter import (
        filter_engine_events as filter_graph_events,
    )
    from graphon.engine.layer import ExecutionLimitsLayer
    from graphon.engine_events import (
        EngineEvent as GraphEngineEvent,
    )
    from graphon.engine_events import (
        GraphRunAbortedEvent,
        GraphRunFailedEvent,
        GraphRunPartialSucceededEvent,
        GraphRunPausedEvent,
        GraphRunStartedEvent,
        GraphRunSucceededEvent,
        NodeRunExceptionEvent,
        NodeRunFailedEvent,
        NodeRunReasoningChunkEvent,
        NodeRunRetryEvent,
        NodeRunStartedEvent,
        NodeRunStreamChunkEvent,
        NodeRunSucceededEvent,
    )
    from graphon.engine_events import (
        NodeEvent as GraphNodeEventBase,
    )
    from graphon.runtime.init_params import InitParams as GraphInitParams
    from graphon.runtime.runtime_state import RuntimeState as GraphRuntimeState
    from graphon.variables.template_resolution import convert_template

__all__ = [
    "IS_NEW",
    "ExecutionLimitsLayer",
    "GraphEngine",
    "GraphEngineEvent",
    "GraphEventFilterContext",
    "GraphInitParams",
    "GraphNodeEventBase",
    "GraphRunAbortedEvent",
    "GraphRunFailedEvent",
    "GraphRunPartialSucceededEvent",
    "GraphRunPausedEvent",
    "GraphRunStartedEvent",
    "GraphRunSucceededEvent",
    "GraphRuntimeState",
    "InMemoryChannel",
    "NodeRunExceptionEvent",
    "NodeRunFailedEvent",
    "NodeRunReasoningChunkEvent",
    "NodeRunRetryEvent",
    "NodeRunStartedEvent",
    "NodeRunStreamChunkEvent",
    "NodeRunSucceededEvent",
    "ResponseStreamFilter",
    "convert_template",
    "filter_graph_events",
    "for_nodes",
]


def for_nodes(parameters: GraphInitParams, state: GraphRuntimeState) -> dict[str, Any]:
    """Return what every node is made with, under the names that it is given by."""
    if IS_NEW:
        return {"init_params": parameters, "runtime_state": state}
    return {"graph_init_params": parameters, "graph_runtime_state": state}
