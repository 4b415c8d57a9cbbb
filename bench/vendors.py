"""Each imitated vendor, asked by what others wrote: `python -m bench.vendors [--official FOLDER] [--json]`.

    clawback   the plugin of this checkout, as Dify's Agent node asks it
    official   Dify's plugin for OpenAI-compatible servers, asked in the same way (a checkout of it, with its .venv)
    openai     OpenAI's SDK
    litellm    LiteLLM, with its own provider for the vendor where it speaks OpenAI's protocol there

Each does the same turns, streamed and whole, and gives the model back what it was told: a simple loop of tools, as one
would write it by hand. Counted is which turns ended with the right calls and the right answer. An imitation that none
of the others can use would be a wrong one; what they can use must work here.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import vendor_clients
from bench.first_byte import LITELLM
from bench.vendor_clients import Said, Turn
from demo.box.errors import DaemonError
from demo.box.plugin_process import PluginProcess
from demo.scripted.vendors import VENDORS
from demo.stack import ROOT

KEY = "sk-bench"
READ, EXEC = '!call read {"path": "a"}', '!call exec {"cmd": "ls"}'
READS, EXECS = ["read", {"path": "a"}], ["exec", {"cmd": "ls"}]
TURNS = {
    "one call": (f"{READ}\n!then\n!say Done.", [[READS]]),
    "parallel calls": (f"!say I look.\n{READ}\n{EXEC}\n!then\n!say Done.\n!delta 3", [[READS, EXECS]]),
    "three rounds": ("\n!then\n".join([READ, EXEC, READ, "!say Done."]), [[READS], [EXECS], [READS]]),
}
TOOLS = [each["function"] for each in vendor_clients.TOOLS]

Table = dict[str, dict[str, dict[str, str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="models/openai_api_compatible of Dify's official plugins")
    parser.add_argument("--vendor", action="append", help="this one alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    vendors = options.vendor or VENDORS
    with upstream() as base_url, contextlib.ExitStack() as stack:
        own = stack.enter_context(plugin(ROOT))
        clients: dict[str, Callable[[str], Turn]] = {
            "clawback": lambda vendor: asked_by_dify(own, "clawback", "main", own_form(base_url, vendor)),
            "openai": lambda vendor: vendor_clients.openai_turn(base_url, KEY, f"scripted-like-{vendor}"),
        }
        if options.official:
            theirs = stack.enter_context(plugin(options.official, str(options.official / ".venv/bin/python")))
            clients["official"] = lambda vendor: asked_by_dify(
                theirs, "openai_api_compatible", f"scripted-like-{vendor}", official_form(base_url, vendor)
            )
        if LITELLM.exists():
            other = stack.enter_context(litellm(base_url))
            clients["litellm"] = lambda vendor: lambda prompt, stream: other(vendor, prompt, stream)
        table = {vendor: {name: tried(of(vendor)) for name, of in clients.items()} for vendor in vendors}
    print(json.dumps(table, indent=1) if options.json else shown(table))


def tried(ask: Turn) -> dict[str, str]:
    """Return what came of each turn: "" where it went well, else what went wrong."""
    return {
        f"{name}, {'streamed' if stream else 'whole'}": outcome(ask, *turn, stream=stream)
        for name, turn in TURNS.items()
        for stream in (True, False)
    }


def outcome(ask: Turn, script: str, expected: list[list[Any]], *, stream: bool) -> str:
    """Let the tools run until the model makes no more calls."""
    prompt: list[dict[str, Any]] = [{"role": "user", "content": script}]
    made = []
    try:
        for _ in range(len(expected) + 1):
            said: Said = ask(prompt, stream)
            if not said["calls"]:
                break
            made.append([[name, json.loads(arguments or "{}")] for _, name, arguments in said["calls"]])
            results = [
                {"role": "tool", "tool_call_id": id_, "content": f"result {number}"}
                for number, (id_, *_) in enumerate(said["calls"])
            ]
            prompt = [*prompt, said["message"], *results]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    if made != expected:
        return f"calls: {made}"
    return "" if said["text"].rstrip().endswith("Done.") else f"text: {said['text'][-80:]!r}"


def shown(table: Table) -> str:
    """Return the table, and below it what went wrong."""
    names = list(next(iter(table.values())))
    lines = ["| vendor | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    wrong = []
    for vendor, tried_by in table.items():
        went = [f"{sum(not problem for problem in each.values())}/{len(each)}" for each in tried_by.values()]
        lines.append(f"| {vendor} | " + " | ".join(went) + " |")
        for name, each in tried_by.items():
            for problem in sorted({problem for problem in each.values() if problem}):
                wrong.append(f"{vendor}, {name}: {problem}")
    return "\n".join([*lines, "", *wrong])


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """Start the scripted upstream, which imitates each vendor by the name of the model."""
    command = [sys.executable, "-m", "demo.scripted", "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.terminate()


@contextlib.contextmanager
def plugin(folder: Path, python: str = sys.executable) -> Iterator[PluginProcess]:
    """Start a plugin as Dify's daemon does."""
    process = PluginProcess(folder, python=python)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def own_form(base_url: str, vendor: str) -> dict[str, str]:
    """Return what the user of this plugin fills in. Of the vendor nothing is said."""
    return {"upstream_base_url": base_url, "upstream_api_key": KEY, "upstream_model": f"scripted-like-{vendor}"}


def official_form(base_url: str, vendor: str) -> dict[str, str]:
    """Return what the user of Dify's plugin fills in."""
    return {
        "endpoint_url": base_url,
        "api_key": KEY,
        "endpoint_model_name": f"scripted-like-{vendor}",
        "mode": "chat",
        "context_size": "32000",
        "max_tokens_to_sample": "4096",
        "function_calling_type": "tool_call",
        "stream_function_calling": "supported",
        "vision_support": "no_support",
    }


def asked_by_dify(process: PluginProcess, provider: str, model: str, credentials: dict[str, str]) -> Turn:
    """Ask as Dify's Agent node does, which keeps of an answer its text and its calls."""

    def turn(prompt: list[dict[str, Any]], stream: bool) -> Said:
        request = {
            "user_id": "bench",
            "provider": provider,
            "model_type": "llm",
            "model": model,
            "credentials": credentials,
            "prompt_messages": prompt,
            "model_parameters": {},
            "tools": TOOLS,
            "stop": None,
            "stream": stream,
        }
        try:
            messages = [chunk["delta"]["message"] for chunk in process.invoke("invoke_llm", request, app_id="bench")]
        except DaemonError as error:
            raise RuntimeError(error.message) from None
        text = "".join(message["content"] or "" for message in messages)
        made = [call for message in messages for call in message["tool_calls"]]
        calls = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]
        return {"text": text, "calls": calls, "message": {"role": "assistant", "content": text, "tool_calls": made}}

    return turn


@contextlib.contextmanager
def litellm(base_url: str) -> Iterator[Callable[..., Said]]:
    """Start LiteLLM in the environment that it has of its own."""
    command = [str(LITELLM.parent / "python"), vendor_clients.__file__, base_url, KEY]
    with subprocess.Popen(
        command,
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        source, sink = process.stdout, process.stdin

        def ask(vendor: str, prompt: list[dict[str, Any]], stream: bool) -> Said:
            sink.write(json.dumps([vendor, prompt, stream]) + "\n")
            sink.flush()
            answer = json.loads(source.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"])
            said: Said = answer
            return said

        try:
            yield ask
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
