"""What a model is told about calling tools, in each language."""

from collections.abc import Mapping
from dataclasses import dataclass

from tools.openclaw_text.language import Language


@dataclass(frozen=True, slots=True)
class Phrases:
    """The sentences of one language. `{name}` is a tool's name, `{how}` how a format puts several calls together.

    `arguments` has a rule for each way to write values, `many` one for each call format.
    """

    tools: str
    calling: str
    json_form: str
    plain_form: str
    result: str
    arguments: Mapping[str, str]
    declared_only: str
    one_call: str
    many_calls: str
    many: Mapping[str, str]
    stop: str
    errors: str
    no_call: str
    required: str
    named: str
    none: str
    remind_required: str
    remind_named: str
    output: str
    opening: str


_ENGLISH = Phrases(
    tools="# Tools\n\nYou can use these tools. A parameter marked `?` is optional.",
    calling="# Calling a tool",
    json_form="To call a tool, write its name and its arguments as JSON, exactly in this form (here `{name}`):",
    plain_form="To call a tool, write its name and each argument between tags, exactly in this form (here `{name}`):",
    result="The next message then brings the result, like this:",
    arguments={
        "json": "The arguments are valid JSON: double quotes, and \\n for a line break inside a string.",
        "plain": (
            "Write text values as they are, without quotes or escapes. Write numbers, true, false, lists and objects "
            "as JSON."
        ),
        "marked": (
            'Write text values as they are, without quotes or escapes, with string="true". Write numbers, true, false, '
            'lists and objects as JSON, with string="false".'
        ),
    },
    declared_only=(
        "Use only the tools above, with their exact names. Give every parameter that has no `?`; leave out the others "
        "unless you need them."
    ),
    one_call="Make only one call in a reply.",
    many_calls="When several calls do not need each other's results, make them in one reply: {how}.",
    many={
        "hermes_json": "one <tool_call> block after the other",
        "hermes_fn": "one <tool_call> block after the other",
        "glm_xml": "one <tool_call> block after the other",
        "bare_json": "one JSON object after the other, each on its own line",
        "mistral": "several objects in the one list after [TOOL_CALLS]",
        "deepseek_v3": "one <｜tool▁call▁begin｜>...<｜tool▁call▁end｜> after the other inside the same block",
        "deepseek_v31": "one <｜tool▁call▁begin｜>...<｜tool▁call▁end｜> after the other inside the same block",
        "deepseek_dsml": "one <｜DSML｜invoke> after the other inside the same block",
        "kimi_k2": (
            "one <|tool_call_begin|>...<|tool_call_end|> after the other inside the same section, and count on after "
            "the colon"
        ),
    },
    stop="After the calls, stop. Never write a result yourself: wait for it.",
    errors="When a result is an error, correct the call and try again, or tell the user what is wrong.",
    no_call="When no tool is needed, answer the user in plain text, without this form.",
    required="This reply must call at least one of the tools.",
    named="This reply must call `{name}`.",
    none="Tools cannot be called now. Answer the user in plain text.",
    remind_required="(Call a tool in this reply.)",
    remind_named="(Call `{name}` in this reply.)",
    output="(the output of {name})",
    opening="(The conversation begins.)",
)

_CHINESE = Phrases(
    tools="# 工具\n\n你可以使用以下工具。带 `?` 的参数是可选的。",
    calling="# 如何调用工具",
    json_form="调用工具时，用 JSON 写出工具名和参数，格式必须与下例完全一致（以 `{name}` 为例）：",
    plain_form="调用工具时，把工具名和每个参数写在标签里，格式必须与下例完全一致（以 `{name}` 为例）：",
    result="下一条消息会给出结果，形式如下：",
    arguments={
        "json": "参数必须是合法的 JSON：使用英文双引号，字符串中的换行写成 \\n。",
        "plain": "文本值原样书写，不加引号，不转义。数字、true、false、列表和对象写成 JSON。",
        "marked": (
            '文本值原样书写，不加引号，不转义，并标 string="true"。'
            '数字、true、false、列表和对象写成 JSON，并标 string="false"。'
        ),
    },
    declared_only="只能使用上面列出的工具，名称必须完全一致。不带 `?` 的参数必须给出；其余参数不需要时就省略。",
    one_call="每次回复只调用一次工具。",
    many_calls="几个调用互不依赖时，在同一次回复中全部写出：{how}。",
    many={
        "hermes_json": "一个 <tool_call> 块接着一个",
        "hermes_fn": "一个 <tool_call> 块接着一个",
        "glm_xml": "一个 <tool_call> 块接着一个",
        "bare_json": "一个 JSON 对象接着一个，每个单独一行",
        "mistral": "在 [TOOL_CALLS] 后的同一个列表里写多个对象",
        "deepseek_v3": "在同一个块里，一个 <｜tool▁call▁begin｜>...<｜tool▁call▁end｜> 接着一个",
        "deepseek_v31": "在同一个块里，一个 <｜tool▁call▁begin｜>...<｜tool▁call▁end｜> 接着一个",
        "deepseek_dsml": "在同一个块里，一个 <｜DSML｜invoke> 接着一个",
        "kimi_k2": "在同一个区段里，一个 <|tool_call_begin|>...<|tool_call_end|> 接着一个，冒号后的编号依次加一",
    },
    stop="写完调用后立即停止。不要自己编写结果，等待结果返回。",
    errors="如果结果是错误，改正调用后重试，或者告诉用户哪里出了问题。",
    no_call="不需要工具时，直接用普通文本回答用户，不要使用上述格式。",
    required="这次回复必须至少调用一个工具。",
    named="这次回复必须调用 `{name}`。",
    none="现在不能调用工具。请直接用普通文本回答用户。",
    remind_required="（这次回复请调用工具。）",
    remind_named="（这次回复请调用 `{name}`。）",
    output="（{name} 的输出）",
    opening="（对话开始。）",
)

PHRASES: Mapping[Language, Phrases] = {"en": _ENGLISH, "zh": _CHINESE}
