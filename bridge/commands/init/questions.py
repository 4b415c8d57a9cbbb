"""The answers that a terminal is asked for; without one, each missing answer names its flag."""

import sys
from collections.abc import Callable

import click

from bridge.commands.init.errors import SetupError
from bridge.commands.init.plan import PLACES, likely
from bridge.commands.init.service_api import FoundApp, endpoint_url, find_address, look_at, tools_at
from bridge.commands.terminal import say
from tools.tokens import new_token


def can_ask() -> bool:
    """Say whether someone sits at the other end."""
    return sys.stdin.isatty()


def until_it_works[Answer](question: str, check: Callable[[str], Answer], *, secret: bool = False) -> Answer:
    """Ask until `check` takes the answer, and say at once what is wrong with each that it does not take."""
    while True:
        typed = click.prompt(question, hide_input=secret, err=True)
        try:
            return check(str(typed))
        except SetupError as error:
            say(f"  {error}", fg="red", err=True)


def dify_address() -> str:
    """Ask where Dify is."""
    if not can_ask():
        raise click.UsageError("--dify-url is missing: the address of your Dify, such as http://localhost")
    return until_it_works("What is the address of your Dify (its web page or its API)?", find_address)


def app(address: str) -> tuple[FoundApp, str]:
    """Ask for an app's key; return what it opens, and the key."""
    if not can_ask():
        raise click.UsageError("--app is missing: a key of the app, from its API Access page in Dify")

    def check(typed: str) -> tuple[FoundApp, str]:
        return look_at(address, typed), typed.strip()

    found, key = until_it_works("The app's key, from its API Access page in Dify", check, secret=True)
    if found.problem:
        say(f"  It cannot answer yet. {found.problem}", fg="yellow", err=True)
    else:
        say(f"  Found the app “{found.name}”.", err=True)
    return found, key


def tools_token() -> str:
    """Ask for the token of Clawback Tools' endpoint, or make one."""
    if not can_ask():
        raise click.UsageError("--dify-tools-token is missing: the token in the endpoint's settings in Dify")
    question = "The token in the settings of its endpoint in Dify (leave it empty for a new one)"
    typed = str(click.prompt(question, default="", show_default=False, hide_input=True, err=True)).strip()
    if typed:
        return typed
    made = new_token("tools")
    say(
        "  In Dify, open Plugins, Clawback Tools, and add an endpoint. Pick the tools that may be called, and paste",
        err=True,
    )
    say(f"  as its token: {made}", err=True)
    return made


def tools_endpoint(token: str) -> tuple[str, list[str]]:
    """Ask for the address of Clawback Tools' endpoint; return it, and the tools that are picked there."""
    if not can_ask():
        raise click.UsageError("--dify-tools is missing: the endpoint's address, as Dify shows it")

    def check(typed: str) -> tuple[str, list[str]]:
        url = endpoint_url(typed)
        return url, tools_at(url, token)

    return until_it_works("The endpoint's address, as Dify shows it", check)


def place(dify_url: str) -> str:
    """Ask how Dify reaches this machine."""
    guess = likely(dify_url)
    if not can_ask():
        raise click.UsageError(f"--place is missing: one of {', '.join(PLACES)} (probably {guess})")
    say("How does Dify reach the bridge?", err=True)
    for known in PLACES.values():
        say(f"  {known.name:<13} {known.description}", err=True)
    return str(click.prompt("Choose", type=click.Choice(list(PLACES)), default=guess, show_choices=False, err=True))


def bridge_url() -> str:
    """Ask for the address that Dify shall use, where it cannot be known."""
    if not can_ask():
        raise click.UsageError("--bridge-url is missing: the address at which Dify reaches this bridge")

    def check(typed: str) -> str:
        if not typed.startswith(("http://", "https://")):
            raise SetupError("The address must begin with https:// or http://")
        return typed

    return until_it_works("At which address does Dify reach this bridge (the tunnel's public address)?", check)
