"""Builds a graph's nodes as Dify does: model nodes get the plugin's model and the conversation's memory.

Everything else is graphon's own factory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from graphon.dsl.entities import DslCredentials
from graphon.dsl.node_factory import SlimDslNodeFactory
from graphon.entities.graph_config import NodeConfigDict
from graphon.enums import BuiltinNodeTypes
from graphon.model_runtime.entities.llm_entities import LLMMode
from graphon.model_runtime.entities.message_entities import PromptMessage
from graphon.nodes.base.node import Node
from graphon.nodes.human_input.entities import HITLCallback, HumanInputNodeData
from graphon.nodes.human_input.human_input_node import HumanInputNode
from graphon.nodes.iteration.iteration_node import IterationNode
from graphon.nodes.iteration.iteration_start_node import IterationStartNode
from graphon.nodes.llm import LLMNode, LLMNodeData
from graphon.nodes.loop.loop_end_node import LoopEndNode
from graphon.nodes.loop.loop_node import LoopNode
from graphon.nodes.loop.loop_start_node import LoopStartNode
from graphon.nodes.parameter_extractor.entities import ParameterExtractorNodeData
from graphon.nodes.parameter_extractor.parameter_extractor_node import ParameterExtractorNode
from graphon.nodes.question_classifier import (
    QuestionClassifierNode,
    QuestionClassifierNodeData,
    QuestionClassifierNodeDependencies,
)

from demo.box.engine_names import GraphInitParams, GraphRuntimeState, for_nodes
from demo.box.memory import ConversationMemory
from demo.box.model import Caller, ModelCatalogue, PluginModel
from demo.box.store import Message
from demo.box.templates import JinjaRenderer, NoFiles

type MakeDecision = Callable[[str, Mapping[str, Any]], HITLCallback]
"""Makes what a Human Input node asks whether to pause, from its id and its data."""


class SavedPrompts:
    """A node's prompt messages as Dify keeps them in `process_data`."""

    def serialize(self, *, model_mode: LLMMode, prompt_messages: Sequence[PromptMessage]) -> object:
        """One `{role, text, files}` for each message. Differs from Dify: `files` is always empty."""
        return [{"role": each.role.value, "text": each.get_text_content(), "files": []} for each in prompt_messages]


class BoxNodeFactory:
    """The factory of one run. `messages` is None where there is no conversation, and so no memory."""

    def __init__(
        self,
        *,
        graph_init_params: GraphInitParams,
        graph_runtime_state: GraphRuntimeState,
        models: ModelCatalogue,
        caller: Caller,
        messages: Callable[[], list[Message]] | None,
        decisions: MakeDecision,
    ) -> None:
        self._for_nodes = for_nodes(graph_init_params, graph_runtime_state)
        self._parameters, self._state = graph_init_params, graph_runtime_state
        self._other_nodes = SlimDslNodeFactory(
            graph_config=graph_init_params.graph_config,
            credentials=DslCredentials(),
            dependencies=[],
            **self._for_nodes,
        )
        self._models = models
        self._caller = caller
        self._messages = messages
        self._decisions = decisions

    def with_runtime_state(self, state: GraphRuntimeState) -> "BoxNodeFactory":
        """Return the factory of a round of an iteration or a loop: graphon 0.8 has one engine for all of them."""
        return self._again(self._parameters, state)

    def with_graph_config(self, graph_config: Mapping[str, Any]) -> "BoxNodeFactory":
        """Return the factory of what is inside a container."""
        return self._again(self._parameters.model_copy(update={"graph_config": graph_config}), self._state)

    def validate_node(self, node_config: NodeConfigDict) -> Any:
        """Return of what kind a node is. The nodes of models are ours, and need no plugin of graphon's."""
        kind = _plain(node_config["data"])["type"]
        own: Any = _CONTAINERS.get(kind) or (LLMNode if kind in self._OWN_NODES else None)
        own = HumanInputNode if kind == BuiltinNodeTypes.HUMAN_INPUT else own
        others: Any = self._other_nodes
        return own.execution_type if own else others.validate_node(node_config)

    def _again(self, parameters: GraphInitParams, state: GraphRuntimeState) -> "BoxNodeFactory":
        return BoxNodeFactory(
            graph_init_params=parameters,
            graph_runtime_state=state,
            models=self._models,
            caller=self._caller,
            messages=self._messages,
            decisions=self._decisions,
        )

    def create_node(self, node_config: NodeConfigDict) -> Node[Any]:
        """A node of the graph."""
        data = _plain(node_config["data"])
        container = _CONTAINERS.get(data["type"])
        if container is not None:
            return container(
                node_id=str(node_config["id"]),
                data=container.validate_node_data(cast("Any", data)),
                **self._for_nodes,
            )
        build = self._OWN_NODES.get(data["type"])
        if build is None:
            return self._other_nodes.create_node(node_config)
        return build(self, str(node_config["id"]), data)

    def _llm(self, node_id: str, data: dict[str, Any]) -> Node[Any]:
        model = self._model(data)
        return LLMNode(
            node_id=node_id,
            data=LLMNodeData.model_validate(data),
            **self._for_nodes,
            model_instance=model,
            memory=self._memory(data, model),
            llm_file_saver=NoFiles(),
            prompt_message_serializer=SavedPrompts(),
            jinja2_template_renderer=JinjaRenderer(),
            default_query_selector=("sys", "query"),
        )

    def _question_classifier(self, node_id: str, data: dict[str, Any]) -> Node[Any]:
        model = self._model(data)
        return QuestionClassifierNode(
            node_id=node_id,
            data=QuestionClassifierNodeData.model_validate(data),
            **self._for_nodes,
            dependencies=QuestionClassifierNodeDependencies(
                model_instance=model,
                template_renderer=JinjaRenderer(),
                llm_file_saver=NoFiles(),
                memory=self._memory(data, model),
                prompt_message_serializer=SavedPrompts(),
            ),
        )

    def _parameter_extractor(self, node_id: str, data: dict[str, Any]) -> Node[Any]:
        model = self._model(data)
        return ParameterExtractorNode(
            node_id=node_id,
            data=ParameterExtractorNodeData.model_validate(data),
            **self._for_nodes,
            model_instance=model,
            memory=self._memory(data, model),
            prompt_message_serializer=SavedPrompts(),
        )

    def _human_input(self, node_id: str, data: dict[str, Any]) -> Node[Any]:
        return HumanInputNode(
            node_id=node_id,
            data=HumanInputNodeData.model_validate(data),
            **self._for_nodes,
            hitl_callback=self._decisions(node_id, data),
        )

    def _model(self, data: Mapping[str, Any]) -> PluginModel:
        model = data["model"]
        return self._models.model(
            provider=model["provider"],
            name=model["name"],
            completion_params=model.get("completion_params") or {},
            caller=self._caller,
        )

    def _memory(self, data: Mapping[str, Any], model: PluginModel) -> ConversationMemory | None:
        if not data.get("memory") or self._messages is None:
            return None
        return ConversationMemory(self._messages, model.get_llm_num_tokens)

    _OWN_NODES: ClassVar[Mapping[str, Callable[["BoxNodeFactory", str, dict[str, Any]], Node[Any]]]] = {
        BuiltinNodeTypes.LLM: _llm,
        BuiltinNodeTypes.QUESTION_CLASSIFIER: _question_classifier,
        BuiltinNodeTypes.PARAMETER_EXTRACTOR: _parameter_extractor,
        BuiltinNodeTypes.HUMAN_INPUT: _human_input,
    }


_CONTAINERS: Mapping[str, type[Node[Any]]] = {
    BuiltinNodeTypes.ITERATION: IterationNode,
    BuiltinNodeTypes.ITERATION_START: IterationStartNode,
    BuiltinNodeTypes.LOOP: LoopNode,
    BuiltinNodeTypes.LOOP_START: LoopStartNode,
    BuiltinNodeTypes.LOOP_END: LoopEndNode,
}


def _plain(data: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", dict(data) if isinstance(data, Mapping) else data.model_dump(mode="python"))
