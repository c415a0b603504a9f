"""Whether a server has the right soft prompt, found out before its first answer with it."""

from __future__ import annotations

import asyncio
import logging

import torch

from langchain_softprompt.errors import ServerMismatchError
from langchain_softprompt.frozen_model import ModelOutline
from langchain_softprompt.prefix import ProbeReport, check_fingerprint, compare_probe, report_of
from langchain_softprompt.prefix.probe_watch import UNASKED_TOKENS
from langchain_softprompt.printable import printable
from langchain_softprompt.remote.answers import Answer
from langchain_softprompt.remote.asked import Asked
from langchain_softprompt.remote.scoring import Ask, next_step
from langchain_softprompt.remote.server import Server, Take
from langchain_softprompt.remote.shared import Shared
from langchain_softprompt.soft_prompt import ProbeRecord, ProbesRecord, SoftPrompt

logger = logging.getLogger(__name__)

# What vLLM tells unless it is started with another --max-logprobs.
_MOST_TOLD = 20
_MOST_VOUCHED = 10_000
# What a server without our plug-in most likely computes in.
_USUAL_DTYPE = "bfloat16"


async def vouch(
    server: Server, soft_prompt: SoftPrompt, outline: ModelOutline, room: asyncio.Semaphore, *, allow_other_model: bool
) -> None:
    """See that a soft prompt was made for a server's model and does there what it did when it was made, the first time it is used there.

    Its recorded probes are scored. A warning is logged when it has drifted, as for a model in this process.

    Args:
        server: The server.
        soft_prompt: The soft prompt.
        outline: The model.
        room: Held by each request.
        allow_other_model: Warn of what would else be refused.

    Raises:
        ModelMismatchError: It was made for another model.
        ServerMismatchError: It does something else altogether there.
        TryAgainError: The server can't be asked now.
    """
    record = soft_prompt.manifest.probes if soft_prompt.manifest is not None else None
    key = (soft_prompt.content_hash, allow_other_model, record is not None and bool(record.probes))
    if key in server.vouched:
        return

    async def find_out() -> None:
        fingerprint = (await server.served()).fingerprint or outline.known_fingerprint
        if fingerprint is not None:
            check_fingerprint(soft_prompt, outline.name, fingerprint, allow_other_model=allow_other_model)
        if record is not None and record.probes:

            async def ask(asked: Asked, take: Take) -> Answer:
                async with room:
                    return await server.ask(asked, take)

            await _judge(server, soft_prompt, record, ask, allow_other_model=allow_other_model)
        if len(server.vouched) >= _MOST_VOUCHED:
            server.vouched.clear()
            server.vouching.clear()
        server.vouched.add(key)

    await server.vouching.setdefault(key, Shared())(find_out)


async def _judge(server: Server, soft_prompt: SoftPrompt, record: ProbesRecord, ask: Ask, *, allow_other_model: bool) -> None:
    served = await server.served()
    report = await read_probes(ask, soft_prompt, record, served.dtype or _USUAL_DTYPE, allow_other_model=allow_other_model)
    name = printable(soft_prompt.source)
    if report.verdict == "broken" and not allow_other_model:
        msg = (
            f"{server.url}: The soft prompt {name} does not do there what it did when it was made: {report}. It serves another model, "
            "or has no soft prompt or another one in its place. Start it with the model that the soft prompt was made for."
        )
        raise ServerMismatchError(msg)
    if report.verdict in {"broken", "drifted"}:
        logger.warning("%s: The soft prompt %s %s there: %s.", server.url, name, _WORDS[report.verdict], report)


_WORDS = {"broken": "is broken", "drifted": "has drifted"}


async def read_probes(
    ask: Ask, soft_prompt: SoftPrompt, record: ProbesRecord, dtype: str, *, allow_other_model: bool = False
) -> ProbeReport:
    """Read recorded probes on a server, at most 256 positions of text, and compare.

    Args:
        ask: Puts a request to that server.
        soft_prompt: The soft prompt.
        record: The probes.
        dtype: Type of the server's weights.
        allow_other_model: Goes along with the requests.
    """
    outcomes, left = [], UNASKED_TOKENS
    for number, probe in enumerate(record.probes, start=1):
        left -= len(probe.token_ids)
        if left < 0:
            break
        likeliest, found = await _read(ask, soft_prompt, probe, allow_other_model=allow_other_model)
        now = torch.tensor([found[token] for token in probe.next_ids], dtype=torch.float64)
        outcomes.append(compare_probe(number, probe, now, likeliest))
    return report_of(record, tuple(outcomes), dtype)


async def _read(ask: Ask, soft_prompt: SoftPrompt, probe: ProbeRecord, *, allow_other_model: bool) -> tuple[int, dict[int, float]]:
    """The likeliest next token, and the log-probabilities of the recorded ones: most are among the likeliest, and told together."""
    ids, most = tuple(probe.token_ids), min(_MOST_TOLD, 2 * len(probe.next_ids))
    asked = Asked.next_token(ids, soft_prompt, allow_other_model=allow_other_model, top_logprobs=most)
    likeliest, logprob, _ = await next_step(ask, asked)
    found = {**dict(logprob.top), likeliest: logprob.logprob}
    for token in probe.next_ids:
        if token not in found:
            asked = Asked.next_token(ids, soft_prompt, allow_other_model=allow_other_model, only=token)
            found[token] = (await next_step(ask, asked))[1].logprob
    return likeliest, found


__all__ = ["read_probes", "vouch"]
