"""How likely given tokens are to follow, asked of a server one token at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from langchain_softprompt.decode import TokenTree
from langchain_softprompt.errors import RequestFailedError
from langchain_softprompt.remote.answers import Answer, Step
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.server import Take
from langchain_softprompt.sampling import TokenLogprob
from langchain_softprompt.soft_prompt import SoftPrompt

Ask = Callable[[Asked, Take], Awaitable[Answer]]


async def next_step(ask: Ask, asked: Asked) -> tuple[int, TokenLogprob, Answer]:
    """The one token that an answer of one token has, with its log-probability.

    Raises:
        RequestFailedError: The server has sent none, or another than the only one that may come.
    """
    steps: list[Step] = []
    answer = await ask(asked, lambda token, logprob: steps.append((token, logprob)))
    steps += [answer.ending] if answer.ending is not None else []
    token, logprob = steps[0] if len(steps) == 1 else (-1, None)
    if logprob is None or asked.only not in (None, token):
        wanted = f"token {asked.only}" if asked.only is not None else "one token"
        msg = f"The server was asked for {wanted} and its log-probability, and has sent {[token for token, _ in steps]}."
        raise RequestFailedError(msg)
    return token, logprob, answer


async def score_tree(
    ask: Ask, token_ids: tuple[int, ...], tree: TokenTree, soft_prompt: SoftPrompt | None, *, allow_other_model: bool
) -> tuple[list[float], int]:
    """The log-probability of each node of a tree of continuations.

    One request a node: the prompt with the tokens before it, and one token that may come. Its log-probability is that of the
    model itself. (To hold a whole answer to a grammar would take fewer requests, but vLLM masks before it takes
    log-probabilities, so that all would be certain.) Beginnings that continuations share are asked for once.

    Returns:
        The log-probabilities by node, and how many tokens of the prompt the server had read before.
    """

    async def of(node: int) -> tuple[float, int]:
        before = tuple(tree.tokens[place] for place in tree.way(node)[:-1])
        asked = Asked.next_token(token_ids + before, soft_prompt, allow_other_model=allow_other_model, only=tree.tokens[node])
        _, logprob, answer = await next_step(ask, asked)
        return logprob.logprob, answer.cached_tokens

    # The first one alone: the others find the prompt in the server's cache.
    first, cached = await of(0)
    rest = await gather([lambda node=node: of(node) for node in range(1, len(tree))])  # type: ignore[misc]
    return [first, *(log_prob for log_prob, _ in rest)], cached


async def gather(work: Sequence[Callable[[], Awaitable[tuple[float, int]]]]) -> list[tuple[float, int]]:
    """All of it at once; the first failure ends the rest."""
    tasks = [asyncio.ensure_future(one()) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["Ask", "next_step", "score_tree"]
