"""``langchain-softprompt serve-command``: the line that starts a vLLM server for a model and some soft prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_softprompt.cli.output import say, show_json
from langchain_softprompt.cli.sources import load_soft_prompt

if TYPE_CHECKING:
    from langchain_softprompt.serving import ServerPlan

_SERVER = "Server"
_SIZE = "Size"
_OUTPUT = "Output"


def serve_command(
    soft_prompts: Annotated[
        list[str] | None, typer.Argument(help="Soft prompts, folders or Hub ids.", metavar="[SOFT_PROMPT]...", show_default=False)
    ] = None,
    model: Annotated[
        str, typer.Option(help="Frozen model: 'embedded', a folder, a .gguf file or a Hub id.", rich_help_panel=_SERVER)
    ] = "embedded",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.", rich_help_panel=_SERVER)] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.", rich_help_panel=_SERVER)] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", rich_help_panel=_SERVER)] = 8000,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_SERVER)] = "auto",
    max_model_len: Annotated[
        int | None,
        typer.Option(help="Positions of the context, soft prompt counted in; the model's own by default.", rich_help_panel=_SIZE),
    ] = None,
    gpus: Annotated[int, typer.Option(help="GPUs that one copy of the model is cut over.", rich_help_panel=_SIZE)] = 1,
    copies: Annotated[int, typer.Option(help="Copies of the model behind one address.", rich_help_panel=_SIZE)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines that these copies are spread over.", rich_help_panel=_SIZE)] = 1,
    cpu_cache_gib: Annotated[
        int | None, typer.Option(help="For a server without GPUs: GiB of memory for keys and values.", rich_help_panel=_SIZE)
    ] = None,
    target: Annotated[
        str, typer.Option("--for", help="shell, nodes, docker, kubernetes, data-parallel or ray.", rich_help_panel=_OUTPUT)
    ] = "shell",
    folder: Annotated[
        Path,
        typer.Option(help="Folder for soft prompts and chat template; it is what has to be copied to the server.", rich_help_panel=_OUTPUT),
    ] = Path("soft-prompt-server"),
    json: Annotated[bool, typer.Option("--json", help="Print command and environment as JSON on stdout.", rich_help_panel=_OUTPUT)] = False,  # noqa: FBT002 - a flag
) -> None:
    """Print what starts a vLLM server for a model and some soft prompts, and write the folder that it reads.

    Nothing is started. The server needs vLLM and this package, in one environment.

    Exit code 0: done. 1: it can't be done, one sentence says why. 2: the command line is wrong.

    Example: langchain-softprompt serve-command prompts/route prompts/clean --port 8000
    """
    from langchain_softprompt.serving import ServerPlan, deployment, server_command, write_folder
    from langchain_softprompt.serving.plan import check_shapes, named, served_model

    loaded = [load_soft_prompt(name, task=None) for name in soft_prompts or []]
    served = served_model(model, revision)
    check_shapes(served.name, served.sizes, loaded)
    plan = ServerPlan(
        model=served.place,
        revision=served.revision,
        served_name=served.name,
        soft_prompts=named(loaded),
        folder=folder.resolve(),
        chat_template=served.chat_template,
        max_model_len=max_model_len,
        dtype=dtype,
        host=host,
        port=port,
        gpus=gpus,
        copies=copies,
        nodes=nodes,
        cpu_cache_gib=cpu_cache_gib,
    )
    text = deployment(plan, target)
    written = write_folder(plan)
    if json:
        command = server_command(plan)
        facts = [
            {
                "name": one.name,
                "type": one.soft_prompt.kind,
                "travels_as": _way(one.holds_key_values),
                "content_hash": one.soft_prompt.content_hash,
            }
            for one in plan.soft_prompts
        ]
        show_json(
            {
                "environment": command.environment,
                "arguments": list(command.arguments),
                "text": text,
                "folder": str(plan.folder),
                "written": written,
                "soft_prompts": facts,
            }
        )
        return
    print(text)  # noqa: T201 - stdout is the interface
    _tell(plan)


def _way(holds_key_values: bool) -> str:  # noqa: FBT001
    return "keys and values" if holds_key_values else "embeddings"


def _tell(plan: ServerPlan) -> None:
    say(f"\nWritten: {plan.folder}")
    for one in plan.soft_prompts:
        soft_prompt = one.soft_prompt
        say(f"  {one.name}: {soft_prompt.kind}, {soft_prompt.num_virtual_tokens} virtual tokens, travels as {_way(one.holds_key_values)}")
    if plan.sends_rows:
        say("Prompt embeddings are for clients you trust: vLLM says that a malformed one may stop the server.")
    say("An API key goes into the environment, VLLM_API_KEY=..., and into VLLMEngine(api_key=...).")
    say(f'In the chain: ChatSoftPrompt(model=..., engine=VLLMEngine("http://{plan.host}:{plan.port}"))')


__all__ = ["serve_command"]
