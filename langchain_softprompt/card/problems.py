"""card_problems(): what is wrong with a card, as the Hub would read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_softprompt.card.front_matter import LIBRARY, RELATION, base_tag
from langchain_softprompt.card.licences import LICENCES
from langchain_softprompt.hub import is_repo_id
from langchain_softprompt.printable import printable, shown

if TYPE_CHECKING:
    from huggingface_hub import CardData

_GENERAL_LICENCES = LICENCES | {"other", "unknown"}


def card_problems(text: str) -> list[str]:
    """Read a card as the Hub does, and say what is wrong with it as the card of a soft prompt.

    The Hub has the last word: it looks at a card anew when one is sent.

    Args:
        text: The text of ``README.md``, of our making or somebody else's.

    Returns:
        Sentences; none where all is well.
    """
    from huggingface_hub import ModelCard

    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return [f"It can't be written as UTF-8: {printable(error)}."]
    if not text.lstrip().startswith("---"):
        return ["It has no front matter: the Hub would find neither its base model nor its tags."]
    try:
        card = ModelCard(text)
    except Exception as error:  # noqa: BLE001 - PyYAML's own among them, which is huggingface_hub's dependency and not ours
        return [f"Its front matter can't be read: {printable(error)}."]
    problems = list(_in_front(card.data))
    if not card.text.strip():
        problems.append("It says nothing: after the front matter there is no text.")
    return problems


def _in_front(front: CardData) -> list[str]:
    wanted = {"library_name": LIBRARY, "base_model_relation": RELATION, "pipeline_tag": "text-generation"}
    problems = [
        f"{name}: expected {value!r}, found {shown(front.get(name))}." for name, value in wanted.items() if front.get(name) != value
    ]
    base, tags = front.get("base_model"), front.get("tags") or []
    if not isinstance(base, str) or not is_repo_id(base):
        problems.append(f"base_model: expected a model on the Hub, 'org/name', found {shown(base)}.")
    elif base_tag(base) not in tags:
        problems.append(f"tags: expected {base_tag(base)!r} among them, by which the Hub finds it.")
    licence = front.get("license")
    if licence is not None and (not isinstance(licence, str) or licence not in _GENERAL_LICENCES):
        problems.append(f"license: expected an identifier of the Hub's, found {shown(licence)}.")
    datasets = front.get("datasets") or []
    problems += [
        f"datasets: expected data sets on the Hub, 'org/name', found {shown(each)}."
        for each in (datasets if isinstance(datasets, list) else [datasets])
        if not isinstance(each, str) or not is_repo_id(each)
    ]
    return problems


__all__ = ["card_problems"]
