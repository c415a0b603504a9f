"""The room where a soft prompt is described: its model card, the README.md of its repository on the Hub.

A card is written from files that nobody vouches for. Text out of them stands in it as text, never as mark-up, a link, YAML or code.

Files:
    card.py          write_card(): soft prompt and evaluation in, README.md out
    problems.py      card_problems(): what is wrong with a card, as the Hub would read it
    front_matter.py  what the Hub reads: base model, tags, licence, scores
    sections.py      what people read, fact by fact
    code.py          code to use it with LangChain and with plain PEFT
    scores.py        what of an evaluation is about one soft prompt
    report.py        Report: an evaluation's JSON, or a manifest's record of one, in one form
    records.py       publishable(): the records as strangers may read them
    base_model.py    what the base model is called on the Hub
    licences.py      licences as people write them become the Hub's identifiers
    markdown.py      text becomes Markdown that says just that text
    *.j2             the card, and its two blocks of code
"""

from __future__ import annotations

from langchain_softprompt.card.card import write_card
from langchain_softprompt.card.problems import card_problems
from langchain_softprompt.card.records import publishable

__all__ = ["card_problems", "publishable", "write_card"]
