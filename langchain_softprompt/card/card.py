"""write_card(): the README.md of a soft prompt on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from langchain_softprompt.card.base_model import find_base_model
from langchain_softprompt.card.code import write_code
from langchain_softprompt.card.front_matter import hub_dataset, make_front_matter
from langchain_softprompt.card.licences import LICENCES, hub_licence
from langchain_softprompt.card.markdown import words
from langchain_softprompt.card.scores import Scores, find_scores
from langchain_softprompt.card.sections import fill_sections
from langchain_softprompt.errors import InvalidReferenceError, InvalidSettingsError
from langchain_softprompt.printable import shown
from langchain_softprompt.refs import SoftPromptRef
from langchain_softprompt.soft_prompt import SoftPrompt

if TYPE_CHECKING:
    from jinja2 import Template

    from langchain_softprompt.evaluation import Evaluation

_TEMPLATE = "card.md.j2"
_MOST_TOKENS = 1024


def write_card(
    soft_prompt: SoftPrompt,
    repo_id: str,
    *,
    evaluation: Evaluation | Mapping[str, Any] | None = None,
    base_model: str | None = None,
    licence: str | None = None,
) -> str:
    """Write the model card of a soft prompt: what a stranger on the Hub must know, and nothing that its files don't say.

    Args:
        soft_prompt: The soft prompt.
        repo_id: Its repository, ``org/name``; as ``org/name@v1`` the code in the card is pinned.
        evaluation: Its evaluation, or the parsed JSON of ``langchain-softprompt evaluate --json``; by default what its manifest
            keeps of one.
        base_model: The base model on the Hub, ``org/name`` or ``org/name@commit``, where the manifest names a folder.
        licence: Its licence; by default that of the data it was trained on, where the Hub knows that one.

    Returns:
        The text of ``README.md``.

    Raises:
        InvalidReferenceError: `repo_id` is no repository.
        InvalidSettingsError: Nobody says what the base model is on the Hub, or the Hub does not know the licence.
        EvaluationError: The evaluation is none, or it is not about this soft prompt.
    """
    ref = SoftPromptRef.parse(repo_id)
    if ref.repo_id is None or ref.subfolder is not None:
        msg = f"A card is for a repository on the Hub, 'org/name' or 'org/name@revision', not for {shown(repo_id)}."
        raise InvalidReferenceError(msg)
    base = find_base_model(soft_prompt, base_model)
    scores = find_scores(soft_prompt, evaluation)
    data = soft_prompt.manifest.data if soft_prompt.manifest else None
    own = _licence(licence) if licence is not None else None
    of_data = hub_licence(data.licence) if data else None
    front = make_front_matter(
        ref.repo_id,
        kind=soft_prompt.kind,
        base_model=base.hub_id,
        licence=own or of_data,
        dataset=hub_dataset(data.source) if data else None,
        scores=scores,
    )
    blocks = write_code(soft_prompt, ref, base, max_tokens=_answer_tokens(scores))
    body = _template().render(fill_sections(soft_prompt, ref, base, blocks, scores, licence_of_data=own is None and of_data is not None))
    return f"---\n{front.to_yaml()}\n---\n\n{body.rstrip()}\n"


def _licence(named: str) -> str:
    found = hub_licence(named)
    if found is None:
        msg = f"licence: the Hub does not know {shown(named)}. Give one of: {', '.join(sorted(LICENCES))}."
        raise InvalidSettingsError(msg)
    return found


def _answer_tokens(scores: Scores | None) -> int:
    """As many as an answer was given when it was judged."""
    tokens = scores.report.settings.get("max_tokens") if scores else None
    return tokens if isinstance(tokens, int) and 0 < tokens <= _MOST_TOKENS else 64


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    # Escaping is Markdown's here, not HTML's: whatever is not Markdown already goes through `words`.
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=words)  # noqa: S701
    return environment.from_string(resources.files("langchain_softprompt.card").joinpath(_TEMPLATE).read_text(encoding="utf-8"))


__all__ = ["write_card"]
