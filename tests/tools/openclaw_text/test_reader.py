"""Calls are read in whatever notation they come, and what is none is text."""

from typing import Any

import pytest

from tools.openclaw_text import parse
from tools.openclaw_text.events import ArgumentsDelta, BrokenCall, CallFinished, CallStarted, Event, Text, TooMuch
from tools.openclaw_text.reader import Reader


def tool(name: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [
    tool(
        "forecast",
        city={"type": "string"},
        days={"type": "integer"},
        hourly={"type": "boolean"},
        places={"type": "array", "items": {"type": "string"}},
    ),
    tool("note", required=("body",), body={"type": "string"}, tag={"enum": ["red", "blue"]}),
    tool("clock"),
]

OSLO = ("forecast", {"city": "Oslo"})
TWO_DAYS = ("forecast", {"city": "Oslo", "days": 2})
CLOCK = ("clock", {})
NOTE = ("note", {"body": "hi"})


def hermes(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


def qwen(parameters: str) -> str:
    return hermes(f"<function=forecast>\n{parameters}\n</function>")


NOTATIONS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "hermes": (hermes('{"name": "forecast", "arguments": {"city": "Oslo"}}'), [OSLO]),
    "hermes, two objects": (
        hermes('{"name": "forecast", "arguments": {"city": "Oslo"}}\n{"name": "clock", "arguments": {}}'),
        [OSLO, CLOCK],
    ),
    "hermes, array": (
        hermes('[{"name": "forecast", "arguments": {"city": "Oslo"}}, {"name": "clock"}]'),
        [OSLO, CLOCK],
    ),
    "hermes, fenced inside": (
        hermes('```json\n{"name": "forecast", "arguments": {"city": "Oslo"}}\n```'),
        [OSLO],
    ),
    "hermes, fenced outside": (
        "```xml\n" + hermes('{"name": "forecast", "arguments": {"city": "Oslo"}}') + "\n```",
        [OSLO],
    ),
    "hermes, open at the end": ('<tool_call>{"name": "forecast", "arguments": {"city": "Oslo"}}', [OSLO]),
    "hermes, no arguments": (hermes('{"name": "clock"}'), [CLOCK]),
    "qwen": (qwen("<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>"), [TWO_DAYS]),
    "qwen, no wrapper": ("<function=forecast>\n<parameter=city>\nOslo\n</parameter>\n</function>", [OSLO]),
    "qwen, no </parameter>": (qwen("<parameter=city>\nOslo\n<parameter=days>\n2"), [TWO_DAYS]),
    "qwen, no </function>": (hermes("<function=forecast>\n<parameter=city>\nOslo\n</parameter>"), [OSLO]),
    "qwen, head twice": (hermes("<function=<function=forecast>>\n<parameter=city>Oslo</parameter></function>"), [OSLO]),
    "llama, function tag": ('<function=forecast>{"city": "Oslo"}</function>', [OSLO]),
    "llama, python tag": ('<|python_tag|>{"name": "forecast", "parameters": {"city": "Oslo"}}<|eom_id|>', [OSLO]),
    "llama, python tag, two": (
        '<|python_tag|>{"name": "forecast", "parameters": {"city": "Oslo"}}; {"name": "clock", "parameters": {}}',
        [OSLO, CLOCK],
    ),
    "llama, pythonic": ('[forecast(city="Oslo", days=2), clock()]', [TWO_DAYS, CLOCK]),
    "llama, pythonic, no ]": ('[forecast(city="Oslo")', [OSLO]),
    "llama 4": ("<|python_start|>[forecast('Oslo', 2)]<|python_end|>", [TWO_DAYS]),
    "mistral": ('[TOOL_CALLS] [{"name": "forecast", "arguments": {"city": "Oslo"}}]', [OSLO]),
    "mistral, new": ('[TOOL_CALLS]forecast[ARGS]{"city": "Oslo"}[TOOL_CALLS]clock{}', [OSLO, CLOCK]),
    "mistral, with id": ('[TOOL_CALLS]forecast[CALL_ID]a1b2c3d4e[ARGS]{"city": "Oslo"}', [OSLO]),
    "deepseek v3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>forecast\n```json\n"
        '{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [OSLO, CLOCK],
    ),
    "deepseek v3, ASCII": (
        '<|tool_call_begin|>function<|tool_sep|>forecast\n```json\n{"city": "Oslo"}\n```<|tool_call_end|>',
        [OSLO],
    ),
    "deepseek v3.1": (
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>forecast<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜>',
        [OSLO],
    ),
    "deepseek dsml": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="forecast">\n'
        '<｜DSML｜parameter name="city" string="true">Oslo</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">2</｜DSML｜parameter>\n'
        '</｜DSML｜invoke>\n<｜DSML｜invoke name="clock"/>\n</｜DSML｜function_calls>',
        [TWO_DAYS, CLOCK],
    ),
    "deepseek dsml, spaced": (
        '<|DSML| tool_calls>\n<|DSML| invoke name="forecast">\n'
        '<|DSML| parameter name="city" string="true">Oslo</|DSML| parameter>\n</|DSML| invoke>\n</|DSML| tool_calls>',
        [OSLO],
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.forecast:0<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_call_begin|>clock:1<|tool_call_argument_begin|>{}<|tool_call_end|>',
        [OSLO, CLOCK],
    ),
    "glm": (
        hermes(
            "forecast\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
            "<arg_key>days</arg_key>\n<arg_value>2</arg_value>"
        ),
        [TWO_DAYS],
    ),
    "glm, nothing": ("<tool_call>clock</tool_call>", [CLOCK]),
    "glm, no </arg_value>": (hermes("forecast\n<arg_key>city</arg_key>\n<arg_value>Oslo"), [OSLO]),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="forecast">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "<invoke name='clock'>\n</invoke>\n</minimax:tool_call>",
        [OSLO, CLOCK],
    ),
    "invoke": (
        "<function_calls><invoke name=forecast><parameter name=city>Oslo</parameter></invoke></function_calls>",
        [OSLO],
    ),
    "seed": (
        "<seed:tool_call>\n<function=forecast>\n<parameter=city>Oslo</parameter>\n</function>\n</seed:tool_call>",
        [OSLO],
    ),
    "step 3": (
        '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="forecast">'
        '<steptml:parameter name="city">Oslo</steptml:parameter></steptml:invoke><｜tool_call_end｜>',
        [OSLO],
    ),
    "harmony": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.forecast "
        '<|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
        [OSLO],
    ),
    "harmony, name first": (
        '<|start|>assistant to=functions.forecast<|channel|>commentary json<|message|>{"city": "Oslo"}<|call|>',
        [OSLO],
    ),
    "harmony, stripped": ('commentary to=forecast code {"city": "Oslo"}', [OSLO]),
    "openclaw, closed": ('[forecast]\n{"city": "Oslo"}\n[END_TOOL_REQUEST]\n[clock]\n{}\n[/clock]', [OSLO, CLOCK]),
    "openclaw, tool": ('[tool:forecast] {"city": "Oslo"}', [OSLO]),
    "openclaw, parameters": ("[tool:forecast]\n<parameter=city>\nOslo\n</parameter>\n</function>", [OSLO]),
    "lm studio": ('[TOOL_REQUEST]{"name": "forecast", "arguments": {"city": "Oslo"}}[END_TOOL_REQUEST]', [OSLO]),
    "lm studio, by line": ('[TOOL_REQUEST]\nforecast {"city": "Oslo"}\n[TOOL_REQUEST_END]', [OSLO]),
    "gemma 3": ('```tool_code\nprint(forecast(city="Oslo"))\n```', [OSLO]),
    "gemma 3, tag": ('<tool_code>\nforecast(city="Oslo")\nclock()\n</tool_code>', [OSLO, CLOCK]),
    "gemma 4": ('<|tool_call>call:forecast{city:<|"|>Oslo<|"|>,days:2}<tool_call|>', [TWO_DAYS]),
    "function gemma": (
        "<start_function_call>call:forecast{city:<escape>Oslo<escape>,days:2}<end_function_call>",
        [TWO_DAYS],
    ),
    "lfm2": ('<|tool_call_start|>[forecast(city="Oslo")]<|tool_call_end|>', [OSLO]),
    "olmo 3": (
        '<function_calls>\nforecast(city="Oslo", hourly=true)\nclock()\n</function_calls>',
        [
            ("forecast", {"city": "Oslo", "hourly": True}),
            CLOCK,
        ],
    ),
    "granite": ('<|tool_call|>[{"arguments": {"city": "Oslo"}, "name": "forecast"}]', [OSLO]),
    "an invocation's end": (
        "<tool_call>\n<function=forecast>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</function_invocation>\n"
        "</tool_call>",
        [OSLO],
    ),
    "the end of a text": (hermes('{"name": "forecast", "arguments": {"city": "Oslo"}}') + "<|endoftext|>", [OSLO]),
    "the end of a turn": ('<|tool_call>call:forecast{city:<|"|>Oslo<|"|>}<tool_call|><turn|>', [OSLO]),
    "phi 4 mini": ('<|tool_call|>[{"name": "forecast", "arguments": {"city": "Oslo"}}]<|/tool_call|>', [OSLO]),
    "granite 20b": ('<function_call> {"name": "forecast", "arguments": {"city": "Oslo"}}', [OSLO]),
    "nemotron": ('<TOOLCALL>[{"name": "forecast", "arguments": {"city": "Oslo"}}]</TOOLCALL>', [OSLO]),
    "hunyuan": ('<tool_calls>[{"name": "forecast", "arguments": {"city": "Oslo"}}]</tool_calls>', [OSLO]),
    "hunyuan 3": (
        "<tool_calls><tool_call>forecast<tool_sep><arg_key>city</arg_key><arg_value>Oslo</arg_value>"
        "</tool_call></tool_calls>",
        [OSLO],
    ),
    "internlm": (
        '<|action_start|><|plugin|>{"name": "forecast", "parameters": {"city": "Oslo"}}<|action_end|>',
        [OSLO],
    ),
    "cohere": (
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "forecast", "parameters": {"city": "Oslo"}}]'
        "<|END_ACTION|>",
        [OSLO],
    ),
    "apertus": ('<|tools_prefix|>[{"forecast": {"city": "Oslo"}}, {"clock": {}}]<|tools_suffix|>', [OSLO, CLOCK]),
    "phi 4": ('functools[{"name": "forecast", "arguments": {"city": "Oslo"}}]', [OSLO]),
    "longcat": ('<longcat_tool_call>{"name": "forecast", "arguments": {"city": "Oslo"}}</longcat_tool_call>', [OSLO]),
    "bracket pair": ('[forecast, {"city": "Oslo"}]', [OSLO]),
    "named tag": ("<forecast><city>Oslo</city><days>2</days></forecast>", [TWO_DAYS]),
    "tool use": (
        '<tool_use>\n<name>forecast</name>\n<arguments>{"city": "Oslo"}</arguments>\n</tool_use>',
        [OSLO],
    ),
    "named tag in a wrapper": ("<tool_call>\n<forecast><city>Oslo</city></forecast>\n</tool_call>", [OSLO]),
    "named tag, CDATA": ("<forecast>\n<city><![CDATA[Oslo]]></city>\n</forecast>", [OSLO]),
    "react in JSON": ('```json\n{"action": "forecast", "action_input": {"city": "Oslo"}}\n```', [OSLO]),
    "lm studio, numbered": ('[TOOL_REQUEST]\n1: forecast {"city": "Oslo"}\n[END_TOOL_REQUEST]', [OSLO]),
    "react": ('Action: forecast\nAction Input: {"city": "Oslo"}\nObservation: rain', [OSLO]),
    "bare": ('{"name": "forecast", "arguments": {"city": "Oslo"}}', [OSLO]),
    "bare, OpenAI's shape": (
        '{"tool_calls": [{"id": "1", "type": "function", "function": '
        '{"name": "forecast", "arguments": "{\\"city\\": \\"Oslo\\"}"}}]}',
        [OSLO],
    ),
    "bare, two": (
        '{"name": "forecast", "parameters": {"city": "Oslo"}}\n{"tool": "clock", "args": {}}',
        [OSLO, CLOCK],
    ),
    "bare array": (
        '[{"name": "forecast", "arguments": {"city": "Oslo"}}, {"name": "clock", "input": {}}]',
        [OSLO, CLOCK],
    ),
    "kimi k3": (
        "<|open|>response<|sep|><|close|>response<|sep|><|open|>tools<|sep|>"
        '<|open|>call tool="forecast" index="1"<|sep|>'
        '<|open|>argument key="city" type="string"<|sep|>Oslo<|close|>argument<|sep|>'
        '<|open|>argument key="days" type="number"<|sep|>2<|close|>argument<|sep|><|close|>call<|sep|>'
        '<|open|>call tool="clock" index="2"<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>',
        [TWO_DAYS, CLOCK],
    ),
    "minimax m3": (
        ']<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name="forecast">]<]minimax[>[<city>Oslo]<]minimax[>[</city>'
        "]<]minimax[>[<places>]<]minimax[>[<item>a]<]minimax[>[</item>]<]minimax[>[<item>b]<]minimax[>[</item>"
        ']<]minimax[>[</places>]<]minimax[>[</invoke>\n]<]minimax[>[<invoke name="clock">]<]minimax[>[</invoke>\n'
        "]<]minimax[>[</tool_call>",
        [("forecast", {"city": "Oslo", "places": ["a", "b"]}), CLOCK],
    ),
    "minimax m3, closing tags without their mark": (
        '<tool_call>\n]<]minimax[>[<invoke name="forecast">]<]minimax[>[<city><b>Oslo</b></city>'
        "]<]minimax[>[<days>2</days>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
        [("forecast", {"city": "<b>Oslo</b>", "days": 2})],
    ),
    "kimi k3, arguments as JSON": (
        '<|open|>call tool="forecast"<|sep|><|open|>json<|sep|>{"city": "Oslo"}'
        "<|close|>json<|sep|><|close|>call<|sep|>",
        [OSLO],
    ),
    "dsml, a bar lost": (
        '<DSML｜tool_calls>\n<DSML｜invoke name="forecast">\n<DSML｜parameter name="city" string="true">Oslo'
        "</DSML｜parameter>\n</DSML｜invoke>\n</DSML｜tool_calls>",
        [OSLO],
    ),
    "hunyuan, suffixed": (
        "<tool_calls:ab12><tool_call:ab12>forecast<tool_sep:ab12>\n<arg_key:ab12>city</arg_key:ab12>"
        "<arg_value:ab12>a </arg_value> b</arg_value:ab12></tool_call:ab12>"
        "<tool_call:ab12>clock</tool_call:ab12></tool_calls:ab12>",
        [("forecast", {"city": "a </arg_value> b"}), CLOCK],
    ),
    "hunyuan, JSON": ('<tool_call:x>forecast<tool_sep:x>{"city": "Oslo"}</tool_call:x>', [OSLO]),
    "hunyuan, no end": (
        "<tool_call:x>forecast<arg_key:x>city</arg_key:x><arg_value:x>Oslo</arg_value:x>",
        [OSLO],
    ),
    "plamo": (
        "<|plamo:begin_tool_requests:plamo|><|plamo:begin_tool_request:plamo|><|plamo:begin_tool_name:plamo|>forecast"
        "<|plamo:end_tool_name:plamo|><|plamo:begin_tool_arguments:plamo|><|plamo:constrain|>json<|plamo:msg|>"
        '{"city": "Oslo"}<|plamo:end_tool_arguments:plamo|><|plamo:end_tool_request:plamo|>'
        "<|plamo:end_tool_requests:plamo|>",
        [OSLO],
    ),
    "solar": (
        "<|tool_call:start|>forecast\n<|tool_arg:start|>city<|tool_arg:value|>Oslo<|tool_arg:end|>\n"
        "<|tool_arg:start|>days<|tool_arg:value|>2<|tool_arg:end|>\n<|tool_call:end|>",
        [TWO_DAYS],
    ),
    "gigachat": (
        '<｜GCML｜tool_calls>\n<｜GCML｜invoke name="forecast">\n<｜GCML｜parameter name="city" string="true">'
        "a </parameter> b</｜GCML｜parameter>\n</｜GCML｜invoke>\n</｜GCML｜tool_calls><|message_sep|>",
        [("forecast", {"city": "a </parameter> b"})],
    ),
    "gigachat, JSON": ('function call<|role_sep|>\n{"name": "forecast", "arguments": {"city": "Oslo"}}', [OSLO]),
    "k2 horizon": (
        "<ifm|tool_calls>\n<ifm|tool_call>forecast\n<ifm|arg_key>city</ifm|arg_key><ifm|arg_type>string</ifm|arg_type>"
        "<ifm|arg_value>Oslo</ifm|arg_value>\n</ifm|tool_call>\n</ifm|tool_calls>",
        [OSLO],
    ),
    "iquest": (
        "<iquest_tool_call>clock</iquest_tool_call><iquest_tool_call>forecast<arg_key>city</arg_key>"
        "<arg_value>Oslo</arg_value></iquest_tool_call>",
        [CLOCK, OSLO],
    ),
    "longcat, by tags": (
        "<longcat_tool_call>forecast\n<longcat_arg_key>city</longcat_arg_key>\n"
        "<longcat_arg_value>Oslo</longcat_arg_value>\n</longcat_tool_call>",
        [OSLO],
    ),
    "telechat": (
        "<tool_call>forecast<param_key>city</param_key><param_value>Oslo</param_value></tool_call>",
        [OSLO],
    ),
    "minicpm": ('<function name="forecast"><param name="city"><![CDATA[Oslo]]></param></function>', [OSLO]),
    "minicpm, closers in CDATA": (
        '<function name="forecast"><param name="city"><![CDATA[</param></function>]]></param></function>',
        [("forecast", {"city": "</param></function>"})],
    ),
    "k2 horizon, nothing": ("<ifm|tool_calls><ifm|tool_call>clock\n</ifm|tool_call></ifm|tool_calls>", [CLOCK]),
    "gigachat, nothing": (
        '<｜GCML｜tool_calls><｜GCML｜invoke name="clock">\n</｜GCML｜invoke></｜GCML｜tool_calls>',
        [CLOCK],
    ),
    "beam": (
        'to=forecast<|channel|>analysis <|constrain|>xml<|message|><rfl:parameter name="city">\nOslo\n</rfl:parameter>'
        "<|end|><|start|>assistant to=clock<|channel|>analysis <|constrain|>xml<|message|><|call|>",
        [OSLO, CLOCK],
    ),
    "muse": (
        'to=forecast<|message|><atem:function_calls>\n<atem:invoke name="forecast">\n'
        '<atem:parameter name="city">Oslo</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>',
        [OSLO],
    ),
    "functionary": ('>>>forecast\n{"city": "Oslo"}\n>>>clock\n{}', [OSLO, CLOCK]),
    "inkling": (
        '<|message_model|>forecast<|content_invoke_tool_json|>{"name": "forecast", "args": {"city": "Oslo"}}'
        "<|end_message|><|content_model_end_sampling|>",
        [OSLO],
    ),
    "dsml, with blanks": (
        '< | DSML | tool_calls>\n< | DSML | invoke name="forecast">\n< | DSML | parameter name="city" string="true">'
        "Oslo</ | DSML | parameter>\n</ | DSML | invoke>\n</ | DSML | tool_calls>",
        [OSLO],
    ),
    "dsml, doubled bars": (
        '<｜｜DSML｜｜tool_calls>\n<｜｜DSML｜｜invoke name="forecast">\n'
        '<｜｜DSML｜｜parameter name="city" string="true">'
        "Oslo</｜｜DSML｜｜parameter>\n</｜｜DSML｜｜invoke>\n</｜｜DSML｜｜tool_calls>",
        [OSLO],
    ),
    "glm, no <arg_value>": (hermes("forecast<arg_key>city</arg_key>Oslo</arg_value>"), [OSLO]),
    "qwen, </parameter> twice": (qwen("<parameter=city>\nOslo\n</parameter>\n</parameter>"), [OSLO]),
    "qwen, head without its end": (
        hermes("<function=forecast\n<parameter=city>\nOslo\n</parameter>\n</function>"),
        [OSLO],
    ),
    "llama, = before the object": ('<function=forecast={"city": "Oslo"}</function>', [OSLO]),
    "gemma 4, first quote lost": ('<|tool_call>call:forecast{city:Oslo<|"|>,days:2}<tool_call|>', [TWO_DAYS]),
    "gemma 4, = for a colon": ("<|tool_call>call:forecast{city='Oslo',days=2}<tool_call|>", [TWO_DAYS]),
    "gemma 4, JSON": (
        '<|tool_call>call:forecast{"city": "the \\"real\\" one"}<tool_call|>',
        [("forecast", {"city": 'the "real" one'})],
    ),
    "gemma 4, no call:": ('<|tool_call>forecast{city:<|"|>Oslo<|"|>}<tool_call|>', [OSLO]),
    "gemma 4, parentheses": ('<|tool_call>call:forecast(city=<|"|>Oslo<|"|>, days=2)<tool_call|>', [TWO_DAYS]),
    "lines in an element": (
        "<forecast>\ncity: Oslo\ndays: \"2\"\nplaces:\n  - a\n  - 'b'\n</forecast>",
        [("forecast", {"city": "Oslo", "days": 2, "places": ["a", "b"]})],
    ),
    "lines in an element, indented": ("<forecast>\n  city: Oslo\n  days: 2\n</forecast>", [TWO_DAYS]),
    "lines in an element, a block": (
        "<note>\n  body: |-\n    body: hi\n\n      there\n  tag: red\n</note>",
        [("note", {"body": "body: hi\n\n  there", "tag": "red"})],
    ),
    "lines in an element, folded": ("<note>\nbody: >\n  hi\n  there\n</note>", [("note", {"body": "hi there\n"})]),
    "lines in an element, no YAML": (
        "<note>\ntag: blue\nbody:  def f():\n    return {}  \n</note>",
        [("note", {"tag": "blue", "body": " def f():\n    return {}  \n"})],
    ),
    "said again without the tags": (
        "<|tool_call_start|>[forecast(city='Oslo')]<|tool_call_end|>[forecast(city='Oslo')]<|tool_call_end|>",
        [OSLO],
    ),
    "said twice": ("[forecast(city='Oslo')]\n[forecast(city='Oslo')]", [OSLO, OSLO]),
    "bare, a name alone beside a call": (
        '{"name": "clock"}\n{"name": "forecast", "arguments": {"city": "Oslo"}}\n{"name": "clock"}',
        [CLOCK, OSLO, CLOCK],
    ),
    "bare, parameters beside function": (
        '{"tool_calls": [{"type": "function", "function": {"name": "forecast"}, "parameters": {"city": "Oslo"}}]}',
        [OSLO],
    ),
    "bare Python": ('forecast(city="Oslo", days=2)\nclock()', [TWO_DAYS, CLOCK]),
    "fenced": ('```json\n{"name": "forecast", "arguments": {"city": "Oslo"}}\n```', [OSLO]),
    "fenced, tildes": ('~~~\n{"tool": "forecast", "args": {"city": "Oslo"}}\n~~~', [OSLO]),
    "fenced, a sentence first": ('```json\nThe call:\n{"tool": "forecast", "args": {"city": "Oslo"}}\n```', [OSLO]),
    "fenced Python": ('```python\nforecast(city="Oslo")\nclock()\n```', [OSLO, CLOCK]),
}

MENDED: dict[str, tuple[str, dict[str, Any]]] = {
    "Python's literals": ('{"name": "forecast", "arguments": {"hourly": True}}', {"hourly": True}),
    "surplus commas": ('{"name": "forecast",, "arguments": {"city": "Oslo",},}', {"city": "Oslo"}),
    "unquoted keys": ('{name: "forecast", arguments: {city: "Oslo"}}', {"city": "Oslo"}),
    "single quotes": ("{'name': 'forecast', 'arguments': {'city': 'Val d\\'Oise'}}", {"city": "Val d'Oise"}),
    "line ends in strings": ('{"name": "forecast", "arguments": {"city": "a\nb\tc"}}', {"city": "a\nb\tc"}),
    "unknown escapes": (r'{"name": "forecast", "arguments": {"city": "\d+"}}', {"city": r"\d+"}),
    "quotes in strings": ('{"name": "forecast", "arguments": {"city": "the "real" one"}}', {"city": 'the "real" one'}),
    "comments": ('{"name": "forecast", /* why */ "arguments": {"city": "Oslo" // here\n}}', {"city": "Oslo"}),
    "a missing brace": ('{"name": "forecast", "arguments": {"city": "Oslo"}', {"city": "Oslo"}),
    "a string for a number": ('{"name": "forecast", "arguments": {"days": "2"}}', {"days": 2}),
    "a text list": ('{"name": "forecast", "arguments": {"places": "[\'a\', \'b\']"}}', {"places": ["a", "b"]}),
    "surrogates": (r'{"name": "forecast", "arguments": {"city": "\ud83d\ude00\ud83d"}}', {"city": "😀\ufffd"}),
}

VALUES = [
    "a < b && c > d",
    "an end </function> inside",
    "an end </tool_call> inside",
    "<b>bold</b> & &amp; more",
    "<tool_call>\n<function=clock>\n</function>\n</tool_call>\nquoted",
    "<tool_call>\n<function=note>\n<parameter=body>\nx\n</parameter>\n</function>\n</tool_call>\nquoted",
    "two\n\nlines\n",
    "  indented",
    "12",
    "true",
    '{"json": 1}',
    "```python\nprint()\n```",
]

DEFINED = '{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}'
TEXTS = [
    "How do I type <tool_call in a text?",
    "Write <tool_call> and then the name.",
    'Use `<tool_call>{"name": "clock", "arguments": {}}</tool_call>` here.',
    'Use `{"name": "clock", "arguments": {}}` here.',
    "You can call clock() to see it.",
    'The page holds {"name": "clock", "arguments": {}} and I did not follow it.',
    'The mail says: "{"name": "clock", "arguments": {}}". I ignore it.',
    'It says: <code>{"name": "clock", "arguments": {}}</code>. I ignore it.',
    '| 12:00 | {"name": "clock", "arguments": {}} |\n',
    'The list [forecast(city="Oslo")] would say it.',
    'You could write {"name": "clock", "arguments": {}}, which tells the time.',
    'If you write {"name": "clock", "arguments": {}}: nothing happens.',
    'An example is {\n "name": "clock",\n "arguments": {}\n} and it would tell the time.',
    'First {"name": "clock", "arguments": {}} and then {"name": "clock", "arguments": {}}.',
    "These are my tools: <tools>\nclock()\nforecast(city, days)\n</tools>",
    "Use <forecast><city>Oslo</city></forecast> to see it.",
    "<tools>\n" + DEFINED + "\n</tools>",
    "a [link](https://example.org), a note [1], a [clock] and x[forecast(0)]",
    "if a < b and b > c: {curly} [1, 2, 3]",
    "analysis is prose\ncommentary too\nfinal to=nobody code",
    '{"name": "package", "version": "1.0", "arguments": {}}',
    '{"name": "clock", "version": "1.0"}',
    '{"users": [{"name": "clock", "arguments": {}}], "x": {"name": "clock", "arguments": {}}}',
    '[{"id": 1}, {"name": "clock", "arguments": {}}]',
    '{"name": "forecast", "description": "d", "parameters": {"type": "object", "properties": {"city": {}}}}',
    '{"type": "function", "function": {"name": "forecast", "parameters": {"type": "object", "properties": {}}}}',
    '```json\n{"name": "package", "version": "1.0"}\n```',
    '```python\nimport os\nforecast(city="Oslo")\n```',
    '```python\nforecast(city=os.environ["CITY"])\n```',
    'Do it so:\n```python\nforecast(city="Oslo")\n```\nand wait.',
    '```bash\necho \'<tool_call>{"name": "clock", "arguments": {}}</tool_call>\'\n```',
    '```text\n{"name": "clock", "arguments": {}}\n```',
    '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
    "<function=unknown><parameter=x>1</parameter></function>",
    "[unknown(x=1)]",
    "[forecast(city=open('/etc/passwd').read())]",
    '[clock]\n{"a": 1}\n[/other]',
    "text [clock]\n{}\n[/clock]",
    "[clock]\nno object",
    '<think>I could <tool_call>{"name": "clock", "arguments": {}}</tool_call> now.</think>No.',
    "commentary to=clock code none",
    "<clock>a clock</clock>",
    "<forecast>Oslo: rain\ncity: Oslo</forecast>",
    "<forecast>\ncity: Oslo\ncity: Bergen\n</forecast>",
    "<forecast>city: Oslo and no end",
    "An example: `<forecast>city: Oslo</forecast>`.",
    'It is written so:\n\n```json\n{"name": "clock", "arguments": {}}\n```\n\nShall I run it?',
    'It is written so:\n\n```xml\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n```\n\nThat is all.',
    'The log says\n\n> <tool_call>{"name": "clock", "arguments": {}}</tool_call>\n\nand no more.',
    '{"name": "clock"}',
    '{"name": "clock"}\n{"name": "clock"}\nare two names.',
    'clock\n{"a": 1, "b": 2} is how',
    "<tool_call>clockcity</arg_key><arg_value>Oslo</arg_value></tool_call>",
    "]<]minimax[>[ is a marker, ]<]mini too, and >>> as well",
    "```",
    "<",
    "[tool:cl",
    "functools",
]


def calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["arguments"]) for call in parse([text], TOOLS)["calls"]]


def events(*chunks: str) -> list[Event]:
    reader = Reader(TOOLS)
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()


@pytest.mark.parametrize("name", NOTATIONS)
def test_a_notation_is_read(name: str) -> None:
    text, wanted = NOTATIONS[name]

    assert calls(text) == wanted
    assert parse([text], TOOLS)["content"] is None or "Hm." in text


ENDING = {"bare Python", "react", "fenced Python", "llama, pythonic, no ]", "hunyuan, no end", "beam", "muse"}


@pytest.mark.parametrize("name", sorted(set(NOTATIONS) - ENDING))
def test_text_around_a_call_is_shown_and_its_markup_is_not(name: str) -> None:
    text, wanted = NOTATIONS[name]
    if "\n" in text[:20] and text.startswith(("[", "`", "~")):
        text = "\n" + text
    behind = "" if "```" in text or "~~~" in text else "After."
    found = parse(["Before. ", "\n" + text, "\n", behind], TOOLS)

    assert [(call["name"], call["arguments"]) for call in found["calls"]] == wanted
    assert "".join(found["content"].replace("Hm.", "").split()) == "Before." + behind


@pytest.mark.parametrize("name", MENDED)
def test_json_is_repaired_where_its_meaning_is_beyond_doubt(name: str) -> None:
    text, arguments = MENDED[name]

    assert calls(text) == [("forecast", arguments)]
    assert calls(hermes(text)) == [("forecast", arguments)]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_between_tags_is_kept_as_it_is(value: str) -> None:
    wanted = [("note", {"body": value})]

    assert calls(hermes(f"<function=note>\n<parameter=body>\n{value}\n</parameter>\n</function>")) == wanted
    assert (
        calls(f'<function_calls><invoke name="note"><parameter name="body">\n{value}\n</parameter></invoke>') == wanted
    )
    assert calls(hermes(f"note\n<arg_key>body</arg_key>\n<arg_value>{value}</arg_value>")) == wanted


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_call_is_text(text: str) -> None:
    assert parse([text], TOOLS) == {"content": text, "calls": []}


def test_nothing_can_be_called_when_nothing_is_declared() -> None:
    for text, _ in NOTATIONS.values():
        assert parse([text], [])["calls"] == []


def test_a_name_is_never_repaired() -> None:
    for name in ("Forecast", "forecasts", "fore-cast", "forecast()", "weather"):
        assert calls(hermes(f'{{"name": "{name}", "arguments": {{"city": "Oslo"}}}}')) == []


def test_a_closer_that_the_end_cut_off_is_not_shown() -> None:
    assert parse(['<tool_call>{"name": "clock"}</tool_ca'], TOOLS) == {
        "content": None,
        "calls": [{"name": "clock", "arguments": {}}],
    }


def test_a_thought_that_never_ends_ends_at_the_last_call() -> None:
    first = hermes('{"name": "clock", "arguments": {}}')
    last = hermes('{"name": "forecast", "arguments": {"city": "Oslo"}}')
    found = parse([f"<think>Perhaps {first} no, rather {last}"], TOOLS)

    assert found["calls"] == [{"name": "forecast", "arguments": {"city": "Oslo"}}]
    assert found["content"].startswith("<think>Perhaps <tool_call>")


def test_a_call_is_told_by_its_start_its_arguments_and_its_end() -> None:
    found = events("Now. ", hermes('{"name": "forecast", "arguments": {"city": "Oslo", "days": 2}}'))

    assert found == [
        Text("Now. "),
        CallStarted(0, "forecast"),
        ArgumentsDelta(0, '{"city": "Oslo", "days": 2}'),
        CallFinished(0, "forecast", {"city": "Oslo", "days": 2}),
    ]


def test_calls_are_numbered() -> None:
    found = events('[forecast(city="Oslo"), clock()]')

    assert [event.index for event in found if isinstance(event, CallFinished)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "note", "arguments": {"body": 12 13}}', "not valid JSON"),
        (hermes('{"name": "note", "arguments": {"tag": "red"}}'), "body is required"),
        (hermes('{"name": "note", "arguments": {"body": "x", "tag": "green"}}'), "must be one of"),
        (hermes('{"name": "forecast", "arguments": {"days": "soon"}}'), "days must be an integer"),
        (hermes('{"name": "forecast", "arguments": {"places": ["a", {}]}}'), "places[1] must be a string"),
        ('<tool_call>{"name": "forecast", "arguments": [1]}</tool_call>', "not a JSON object"),
        ('<tool_call>{"name": "note", "arguments": {"body": "rm -rf /tmp/x', "the text ends in a string"),
        ("<function=note><parameter=body>rm -rf /tmp/x", "the text ends in a value"),
        ('<|open|>call tool="note"<|sep|><|open|>argument key="body"<|sep|>rm </argument>', "the text ends in a value"),
        ("<tool_code>note(body=read())</tool_code>", "only literals"),
        ('<|tool_call>call:note{body:<|"|>rm -rf', "the text ends"),
    ],
)
def test_a_broken_call_says_what_is_wrong_with_it(text: str, reason: str) -> None:
    (broken,) = events(text)

    assert isinstance(broken, BrokenCall)
    assert broken.name in ("note", "forecast")
    assert reason in broken.reason
    assert broken.raw == text.removesuffix("\n</tool_call>")


def test_a_broken_call_does_not_spoil_the_next() -> None:
    text = hermes('{"name": "note", "arguments": {"body": 12 13}}') + "\n" + hermes('{"name": "clock"}')

    assert calls(text) == [CLOCK]
    assert [type(event).__name__ for event in events(text)] == [
        "BrokenCall",
        "CallStarted",
        "ArgumentsDelta",
        "CallFinished",
    ]


def test_an_invented_result_is_not_shown() -> None:
    text = hermes('{"name": "clock"}') + "\n<tool_response>\n12:00\n</tool_response>\nIt is noon."

    assert parse([text], TOOLS)["content"].strip() == "It is noon."


@pytest.mark.parametrize("text", ["a < b", "see [1] ", "{curly", "an `inline` one", "x\nand y", "<b>bold</b>."])
def test_what_cannot_be_an_opener_is_shown_at_once(text: str) -> None:
    assert "".join(event.text for event in Reader(TOOLS).feed(text) if isinstance(event, Text)) == text


@pytest.mark.parametrize(
    ("text", "more", "shown"),
    [
        ("Hi <tool_", "box>.", "Hi <tool_box>."),
        ("Hi [fore", "ign].", "Hi [foreign]."),
        ('{"name', '": "Bob", ', '{"name": "Bob", '),
        ("\ncomm", "a", "\ncomma"),
        ("``", "`js\nx", "```js\nx"),
        ("```json\n{", '"title": 1, ', '```json\n{"title": 1, '),
    ],
)
def test_what_looked_like_an_opener_is_shown_as_soon_as_it_is_none(text: str, more: str, shown: str) -> None:
    reader = Reader(TOOLS)
    first = reader.feed(text)

    assert "".join(event.text for event in first + reader.feed(more) if isinstance(event, Text)) == shown


def test_a_call_is_given_as_soon_as_it_is_complete() -> None:
    reader = Reader(TOOLS)

    assert not [
        e for e in reader.feed('{"name": "forecast", "arguments": {"city": "Oslo"}') if isinstance(e, CallStarted)
    ]
    assert [e for e in reader.feed("}") if isinstance(e, CallFinished)]


@pytest.mark.parametrize(
    "opener",
    [
        '<tool_call>{"name": "note", "arguments": {"body": "',
        '{"name": "note", "arguments": {"body": "',
        '```json\n{"name": "note", "arguments": {"body": "',
        "<function=note><parameter=body>",
        '<|open|>call tool="note"<|sep|><|open|>argument key="body"<|sep|>',
    ],
)
@pytest.mark.parametrize("size", [1000, 400_000])
def test_a_call_that_is_too_long_is_an_error(opener: str, size: int) -> None:
    text = "So:\n" + opener + "x" * 300_000
    found = events(*(text[start : start + size] for start in range(0, len(text), size)))

    assert found[-1] == TooMuch("a call of note is longer than 256,000 characters")
    assert "".join(event.text for event in found if isinstance(event, Text)).strip() == "So:"


def test_data_that_is_long_is_text() -> None:
    text = '{"id": 7, "rows": [' + "1, " * 100_000 + "2]}"

    assert parse([text], TOOLS) == {"content": text, "calls": []}


@pytest.mark.parametrize(
    "text",
    [
        hermes('{"name": "clock"}') * 200,
        f"[{', '.join(['clock()'] * 200)}]",
        hermes("\n".join(['{"name": "clock"}'] * 200)),
        "```tool_call\n" + '{"name": "clock", "arguments": {}}\n' * 200 + "```\n",
    ],
)
def test_too_many_calls_are_an_error(text: str) -> None:
    found = events(text, "Done.")

    assert [event for event in found if isinstance(event, TooMuch)] == [TooMuch("it holds more than 128 calls")]
    assert found[-1] == TooMuch("it holds more than 128 calls")


THOUGHTS = {
    "think": ("<think>", "</think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "seed": ("<seed:think>", "</seed:think>"),
    "minimax m3": ("<mm:think>", "</mm:think>"),
    "k2 horizon": ("<ifm|think>", "</ifm|think>"),
    "hunyuan": ("<think:ab12>", "</think:ab12>"),
    "kimi k3": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    "plamo": ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    "solar": ("<|think:start|>", "<|think:end|>"),
    "gemma 4": ("<|channel>thought\n", "<channel|>"),
    "harmony": ("<|channel|>analysis<|message|>", "<|end|>"),
    "muse": ("to=self<|message|>", "<|eom|>"),
    "inkling": ("<|content_thinking|>", "<|end_message|><|message_model|><|content_text|>"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "exaone": ("<thought>", "</thought>"),
}
QUOTED = ["hermes", "qwen", "invoke", "kimi", "glm", "gemma 4", "mistral", "bare", "named tag", "kimi k3", "minimax m3"]


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("family", THOUGHTS)
def test_a_call_in_a_thought_that_closes_is_none(family: str, quoted: str) -> None:
    begins, ends = THOUGHTS[family]
    text, wanted = NOTATIONS[quoted]

    for width in (1, 3, 1000):
        chunks = f"{begins}Perhaps {text}, or not.{ends}I will not."
        found = parse([chunks[i : i + width] for i in range(0, len(chunks), width)], TOOLS)
        assert found["calls"] == []
        assert found["content"].endswith("I will not.")
    assert calls(f"{begins}No.{ends}\n{text}") == wanted


@pytest.mark.parametrize("ends", ["</think>", "</seed:think>", "</think:ab12>", "[/THINK]", "<channel|>", "◁/think▷"])
def test_a_thought_that_the_prompt_began_holds_no_call(ends: str) -> None:
    call = hermes('{"name": "clock", "arguments": {}}')

    assert calls(f"Perhaps {call}, or not.{ends}I will not.") == []
    assert calls(f"Perhaps {call}, or not.{ends}I will. {NOTATIONS['bare'][0]}") == [OSLO]
    assert call.removesuffix("\n</tool_call>") in parse([f"Perhaps {call}, or not.{ends}I will not."], TOOLS)["content"]
    assert calls(f"{call} and `{ends}` in code") == [CLOCK]
    assert calls(f"<think>Yes.</think>{call}{ends}") == [CLOCK]
    assert parse([f"So.<|tool_calls|><|tool_calls_end|>{ends}"], TOOLS)["content"] == f"So.{ends}"


@pytest.mark.parametrize("message", ["to=user<|message|>", "<|channel|>final<|message|>"])
def test_a_message_to_the_user_holds_no_call(message: str) -> None:
    text = f"{message}It is written {NOTATIONS['hermes'][0]}, so."

    assert calls(text) == []


@pytest.mark.parametrize("family", sorted(set(THOUGHTS) - {"harmony", "muse", "inkling"}))
def test_an_open_thought_ends_at_its_last_call(family: str) -> None:
    assert calls(f"{THOUGHTS[family][0]}Perhaps. {NOTATIONS['hermes'][0]}") == [OSLO]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Fine.<｜DSML｜tool_calls></｜DSML｜tool_calls> Done.", "Fine. Done."),
        ("Done.\n<｜DSML｜tool_calls>", "Done.\n"),
        ("</｜DSML｜invoke>\n</｜DSML｜tool_calls>\nDone.", "\n\nDone."),
        ("<|open|>tools<|sep|><|close|>tools<|sep|>Done.", "Done."),
        ("<|content_text|>Done.<|end_message|><|content_model_end_sampling|>", "Done."),
        ('<|open|>message role="assistant"<|sep|>Done.<|close|>message<|sep|>', "Done."),
        ("all\nDone.", "Done."),
        ("So.<|message_sep|>", "So."),
    ],
)
def test_a_frame_without_a_call_is_not_shown(text: str, shown: str) -> None:
    assert parse([text], TOOLS) == {"content": shown, "calls": []}
