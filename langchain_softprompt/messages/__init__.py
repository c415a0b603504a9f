"""LangChain messages become token ids, and token ids become text again.

Files:
    converting.py         one LangChain message, one plain dictionary that a chat template reads
    rendering.py          the whole chat as token ids
    soft_prompt_block.py  the content block by which messages carry their soft prompt
    prompt_template.py    the prompt template that a soft prompt recommends
    text_stream.py        TextStream: token ids to text as they come, stop strings cut off
    reasoning.py          ReasoningReader: what a model thinks before it answers, told from the answer
    labels.py             labels as the tokens of whole answers
    token_bytes.py        TokenBytes: what one token alone writes; log-probabilities in OpenAI's shape
    reporting.py          usage and response metadata of an answer
"""

from __future__ import annotations

from langchain_softprompt.messages.converting import to_plain_messages
from langchain_softprompt.messages.labels import render_labels
from langchain_softprompt.messages.prompt_template import prompt_template
from langchain_softprompt.messages.reasoning import ReasoningReader, Thought, reasoning_begun
from langchain_softprompt.messages.rendering import encode_text, render_messages
from langchain_softprompt.messages.reporting import PROVIDER, response_metadata, soft_prompt_facts, usage_metadata
from langchain_softprompt.messages.soft_prompt_block import take_soft_prompt
from langchain_softprompt.messages.text_stream import TextStream
from langchain_softprompt.messages.token_bytes import TokenBytes, logprob_entry

__all__ = [
    "PROVIDER",
    "ReasoningReader",
    "TextStream",
    "Thought",
    "TokenBytes",
    "encode_text",
    "logprob_entry",
    "prompt_template",
    "reasoning_begun",
    "render_labels",
    "render_messages",
    "response_metadata",
    "soft_prompt_facts",
    "take_soft_prompt",
    "to_plain_messages",
    "usage_metadata",
]
