"""An engine that is elsewhere: the same requests, answered by vLLM servers.

Files:
    engine.py       VLLMEngine: submit / stream / score / cancel / close, as the engine in this process
    work.py         what is done for a request, up to its end
    options.py      Options: where the servers are, and how patiently they are asked
    loop.py         Loop: the one thread, with an event loop, that talks to all of them
    servers.py      Servers: which server is asked, and what is tried again
    server.py       Server: one of them, and what is known of it
    connections.py  Connections: when they are opened, as another process may answer on a new one
    shared.py       Shared: what several wait for is done once
    identity.py     what a server says that it serves, and whether that is the right model
    vouching.py     whether it has the right soft prompt: recorded probes are scored there
    asked.py        Asked: one request, however it travels
    wire.py         a request as JSON
    answers.py      what comes back, piece by piece, as tokens; nothing of it is taken on trust
    events.py       server-sent events out of bytes
    refusals.py     what a server refuses, as errors of ours
    constraints.py  what an answer is held to, as a grammar that travels, and whether it was held to
    scoring.py      continuations are scored, a token a request
"""

from __future__ import annotations

from langchain_softprompt.remote.engine import VLLMEngine

__all__ = ["VLLMEngine"]
