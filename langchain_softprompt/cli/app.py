"""The ``langchain-softprompt`` command."""

from __future__ import annotations

import sys

import typer

from langchain_softprompt.cli.check import check
from langchain_softprompt.cli.convert import convert
from langchain_softprompt.cli.distill import distill
from langchain_softprompt.cli.evaluate import evaluate
from langchain_softprompt.cli.export import export
from langchain_softprompt.cli.inspect import inspect
from langchain_softprompt.cli.output import show_error
from langchain_softprompt.cli.serve_command import serve_command
from langchain_softprompt.cli.sharing.cached import list_cached, remove
from langchain_softprompt.cli.sharing.lock import lock
from langchain_softprompt.cli.sharing.pull import pull
from langchain_softprompt.cli.sharing.push import push
from langchain_softprompt.cli.sharing.search import search
from langchain_softprompt.cli.sharing.show import show
from langchain_softprompt.cli.train import train
from langchain_softprompt.errors import SoftPromptError

app = typer.Typer(
    name="langchain-softprompt",
    help="Soft prompts for LangChain: learned vectors that make one frozen model precise at one task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Soft prompts for LangChain: learned vectors that make one frozen model precise at one task."""


app.command("train")(train)
app.command("distill")(distill)
app.command("evaluate")(evaluate)
app.command("check")(check)
app.command("inspect")(inspect)
app.command("show")(show)
app.command("pull")(pull)
app.command("list")(list_cached)
app.command("rm")(remove)
app.command("search")(search)
app.command("lock")(lock)
app.command("push")(push)
app.command("export")(export)
app.command("convert")(convert)
app.command("serve-command")(serve_command)


def main() -> None:
    """Run the command line; an expected error is one plain sentence and exit code 1."""
    try:
        app()
    except SoftPromptError as error:
        show_error(error)
        sys.exit(1)
