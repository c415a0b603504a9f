"""What the Hub's scanners say of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from langchain_softprompt.hub.client import ASKING, Kinds, client, in_plain_words
from langchain_softprompt.printable import printable

ScanState = Literal["clean", "flagged", "not scanned", "not told"]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the scanners say of one commit.

    Attributes:
        state: ``"clean"``; ``"flagged"``: at least one file has an issue; ``"not scanned"``: not all scanners are done. An empty list
            of issues means nothing before they are. ``"not told"``: the Hub could not be asked.
        issues: Files with an issue, and how bad it is; as text that may be told, since a stranger chose the names.
    """

    state: ScanState
    issues: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, told: dict[str, Any] | None) -> Scan:
        """From what the Hub says; a Hub that says nothing has not scanned."""
        given = (told or {}).get("filesWithIssues") or []
        listed = [issue for issue in given if isinstance(issue, dict)]
        issues = tuple((printable(issue.get("path", "?")), printable(issue.get("level", "?"))) for issue in listed)
        if issues:
            return cls("flagged", issues)
        return cls("clean" if told and told.get("scansDone") is True else "not scanned")

    def __str__(self) -> str:
        listed = ", ".join(f"{path} ({level})" for path, level in self.issues[:3])
        return f"{self.state}: {listed}" if self.issues else self.state


def scan_of(repo_id: str, commit: str, kinds: Kinds = ASKING, *, name: str = "") -> Scan:
    """Ask the Hub, in one request.

    Raises:
        SoftPromptError: Of the kinds given: it can't be told.
    """
    with in_plain_words(repo_id, commit, kinds, "ask for the scans of", name=name):
        info = client().model_info(repo_id, revision=commit, securityStatus=True)
    return Scan.of(getattr(info, "security_repo_status", None))


__all__ = ["Scan", "ScanState", "scan_of"]
