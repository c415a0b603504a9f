"""What to do next, in plain words."""

from __future__ import annotations

from langchain_softprompt.ageing.findings import Ageing
from langchain_softprompt.printable import printable

_AGAIN = "train it again from where it is: langchain-softprompt train --start-from"


def next_step(ageing: Ageing) -> str:
    """What to do about what was found."""
    if ageing.failure:
        return "It can't be used here as it is. Load the model it was made for, or train a soft prompt for this one."
    if ageing.verdict == "same":
        return "Nothing to do."
    if ageing.verdict == "unknown":
        return "Nothing was compared. Record probes to compare with later: langchain-softprompt check --record --data ROWS."
    if ageing.template.changes:
        return f"Chats are rendered otherwise than it was trained on. Use the tokenizer and chat template it was made with, or {_AGAIN}."
    cause = _suspect(ageing)
    if ageing.verdict == "broken":
        return f"{cause}Don't use it here. Go back to what it was made on, or {_AGAIN}."
    if ageing.evaluation is not None and ageing.evaluation.verdict == "same":
        return f"{cause}Its scores hold, so it can be used. Record its probes again and the warning stops: check --record."
    if ageing.evaluation is not None and ageing.evaluation.verdict != "unknown":
        return f"{cause}Its scores are worse. Go back to what it was made on, or {_AGAIN}."
    return (
        f"{cause}See what that does to its scores: langchain-softprompt evaluate --data ROWS, or check --data ROWS if it has an "
        f"evaluation recorded. Where they hold, record its probes again: check --record. Else {_AGAIN}."
    )


def _suspect(ageing: Ageing) -> str:
    """What has changed, as the first thing to look at."""
    if ageing.identity.same_model is False:
        return "This is another model than it was made for. "
    changes = ageing.identity.then.differences(ageing.identity.now)
    if changes:
        told = ", ".join(f"{name} {printable(then)} then, {printable(now)} now" for name, then, now in changes)
        return f"First suspect: {told}. "
    return "Versions and precision are as recorded: the soft prompt has changed, or something that the model's fingerprint leaves out. "


__all__ = ["next_step"]
