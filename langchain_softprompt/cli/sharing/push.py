"""``langchain-softprompt push``: publish a folder on the Hub, after a look at what changes."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.syntax import Syntax

from langchain_softprompt.cli.output import people, say, show_json
from langchain_softprompt.cli.sources import load_whole
from langchain_softprompt.errors import EvaluationError, InvalidSettingsError, SoftPromptNotFoundError

if TYPE_CHECKING:
    from langchain_softprompt.hub.publication import Publication

_MARKS = {"new": "+", "changed": "~", "same": "=", "removed": "-"}


def push(
    folder: Annotated[Path, typer.Argument(help="The soft prompt's folder.", metavar="FOLDER", show_default=False)],
    repository: Annotated[str, typer.Argument(help="Where to publish it, org/name.", metavar="ORG/NAME", show_default=False)],
    evaluation: Annotated[
        Path | None, typer.Option(help="What `evaluate --json` printed: the card shows its baselines.", show_default=False)
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="The Hub's name of the frozen model, if its manifest names it otherwise.", show_default=False)
    ] = None,
    card: Annotated[Path | None, typer.Option(help="A README.md of yours instead of the card that is written.", show_default=False)] = None,
    message: Annotated[str, typer.Option(help="The commit's message.")] = "Publish the soft prompt",
    branch: Annotated[str, typer.Option(help="The branch.")] = "main",
    tag: Annotated[str | None, typer.Option(help="A tag for the commit, for instance v1.", show_default=False)] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,  # noqa: FBT002 - a flag
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Propose it instead of publishing it.")] = False,  # noqa: FBT002 - a flag
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be published, and stop.")] = False,  # noqa: FBT002 - a flag
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,  # noqa: FBT002 - a flag
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Publish a soft prompt on the Hugging Face Hub: its files and a card, in one commit.

    Shows the files, the card and what would change, then asks. If the repository moves on in between, nothing is published.

    Example: langchain-softprompt push prompts/router acme/router --evaluation router.json
    """
    from langchain_softprompt.hub.publication import plan_publication
    from langchain_softprompt.hub.publishing import publish

    publication = plan_publication(repository, _files(folder, repository, evaluation, base_model, card), branch=branch)
    if not json:
        _show(publication)
    if not publication.changes and tag is None:
        if json:
            show_json({"pushed": None, "files": [file.to_json() for file in publication.files]})
        else:
            say(f"{repository} holds exactly this already, at commit {publication.head}.")
        return
    if not dry_run:
        if not yes:
            typer.confirm(f"Publish this to {repository}{' as a pull request' if pull_request else ''}?", abort=True, err=True)
        published = publish(publication, message, private=private, pull_request=pull_request, tag=tag)
        if not json:
            say(f"Published: {published.url}\nPinned: {published.pin}")
    if json:
        pushed: dict[str, Any] | None = (
            None if dry_run else {"pin": published.pin, "url": published.url, "commit": published.commit, "tag": tag}
        )
        show_json({"pushed": pushed, "files": [file.to_json() for file in publication.files]})


def _files(folder: Path, repository: str, evaluation: Path | None, base_model: str | None, card: Path | None) -> dict[str, bytes]:
    """What is to be published: the soft prompt as it is checked and written again, so that nothing else of the folder gets out."""
    import tempfile

    from langchain_softprompt.card import publishable, write_card

    if not folder.is_dir():
        msg = f"There is no folder {str(folder)!r}. `push` publishes a folder of this machine."
        raise SoftPromptNotFoundError(msg)
    soft_prompt = publishable(load_whole(str(folder)), base_model)
    if card is not None and evaluation is not None:
        msg = "card: a README.md of yours says itself what the evaluation found. Leave out --evaluation or --card."
        raise InvalidSettingsError(msg)
    if card is None:
        text = write_card(soft_prompt, repository, evaluation=_evaluation(evaluation), base_model=base_model)
    else:
        text = _own_card(card)
    with tempfile.TemporaryDirectory() as beside:
        written = soft_prompt.save(beside)
        files = {file.name: file.read_bytes() for file in sorted(written.iterdir()) if file.suffix in (".json", ".safetensors")}
    return {**files, "README.md": text.encode()}


def _own_card(file: Path) -> str:
    from langchain_softprompt.card import card_problems

    text = _read(file)
    for problem in card_problems(text):
        if "can't be" in problem:  # neither by us nor by the Hub, which would refuse it when the repository is made already
            msg = f"card: {file}: {problem}"
            raise InvalidSettingsError(msg)
        say(f"Your card: {problem}")
    return text


def _evaluation(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        read = json_text.loads(_read(file))
    except (ValueError, RecursionError) as error:
        msg = f"{file} is not what `langchain-softprompt evaluate --json` prints: {error}"
        raise EvaluationError(msg) from error
    if not isinstance(read, dict):
        msg = f"{file} is not what `langchain-softprompt evaluate --json` prints: expected an object, found {type(read).__name__}."
        raise EvaluationError(msg)
    return read


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} can't be read: {error}"
        raise InvalidSettingsError(msg) from error


def _show(publication: Publication) -> None:
    where = f"{publication.repo_id} ({publication.branch})"
    say(f"{where}: {'a new repository' if publication.head is None else f'on top of commit {publication.head}'}")
    for file in publication.files:
        size = "" if file.state == "removed" else f"{decimal(len(file.content))}, "
        say(f"  {_MARKS[file.state]} {file.path}  {size}{file.state}")
    for file in publication.files:
        if file.diff:
            people.print(Syntax("\n".join(file.diff), "diff", background_color="default", word_wrap=True))
        elif file.path == "README.md" and file.state == "new":
            say("\nThe card:\n")
            people.print(Syntax(file.content.decode(), "markdown", background_color="default", word_wrap=True))


__all__ = ["push"]
