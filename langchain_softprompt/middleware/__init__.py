"""SoftPromptMiddleware: an agent that picks its soft prompt for each model call. Needs the extra ``agents``.

Files:
    choosing.py     SoftPromptMiddleware: what LangChain's agents call
    pickers.py      ready-made rules: by phase, by the tools on offer, by the runtime context, by the state
    wearing.py      a model with another soft prompt, whatever it is wrapped in; a foreign model is left alone
"""

from __future__ import annotations

from langchain_softprompt.errors import MissingExtraError

try:
    from langchain_softprompt.middleware.choosing import SoftPromptMiddleware
    from langchain_softprompt.middleware.pickers import KEEP, by_context, by_key, by_phase, by_state, by_tools
except ImportError as error:
    if (error.name or "").partition(".")[0] not in {"langchain", "langgraph"}:
        raise
    _msg = "SoftPromptMiddleware needs LangChain 1.4 or newer. Install it: pip install 'langchain-softprompt[agents]'."
    raise MissingExtraError(_msg) from error

__all__ = ["KEEP", "SoftPromptMiddleware", "by_context", "by_key", "by_phase", "by_state", "by_tools"]
