"""Whom to trust: organisations, scans, the lock file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from langchain_softprompt.errors import InvalidSettingsError, UntrustedSoftPromptError
from langchain_softprompt.refs import SoftPromptRef

LOCK_FILE = "soft-prompts.lock"
_PREFIX = "LANGCHAIN_SOFTPROMPT_"
Scans = Literal["off", "warn", "require"]


class UntrustedSoftPromptWarning(UserWarning):
    """The Hub's scanners have flagged a repository, or have not looked at it yet."""


@dataclass(frozen=True, slots=True)
class HubPolicy:
    """Rules for soft prompts from the Hub.

    Attributes:
        scans: What to do about the Hub's scanners: ``"warn"`` where they flag a repository or have not looked at it yet, when it is
            first fetched; ``"require"``: refuse all but clean ones, asked each time one is loaded; ``"off"``: don't ask.
        organisations: The only organisations and users to fetch from; empty for all.
        lock_file: Where the pins of an application are; enforced when it is there. ``None``: nowhere.
    """

    scans: Scans = "warn"
    organisations: frozenset[str] = frozenset()
    lock_file: Path | None = Path(LOCK_FILE)

    def __post_init__(self) -> None:
        if self.scans not in get_args(Scans):
            msg = f"scans: expected one of {', '.join(get_args(Scans))}, found {self.scans!r}."
            raise InvalidSettingsError(msg)
        if not isinstance(self.organisations, set | frozenset | list | tuple):
            msg = f"organisations: expected a set of names, found {self.organisations!r}."
            raise InvalidSettingsError(msg)
        if not all(isinstance(name, str) for name in self.organisations):
            msg = f"organisations: expected a set of names, found {sorted(map(repr, self.organisations))}."
            raise InvalidSettingsError(msg)
        if self.lock_file is None:
            return
        if not isinstance(self.lock_file, str | Path) or not str(self.lock_file):
            msg = f"lock_file: expected a path or None, found {self.lock_file!r}."
            raise InvalidSettingsError(msg)
        try:
            object.__setattr__(self, "lock_file", Path(self.lock_file).expanduser())
        except RuntimeError as error:  # nobody's home folder
            msg = f"lock_file: {str(self.lock_file)!r} can't be read: {error}"
            raise InvalidSettingsError(msg) from error

    @classmethod
    def from_environment(cls) -> Self:
        """What ``LANGCHAIN_SOFTPROMPT_SCANS``, ``…_ORGANISATIONS`` (with commas) and ``…_LOCK_FILE`` say; else the defaults.

        Raises:
            InvalidSettingsError: One of them has no such value.
        """
        scans = os.environ.get(f"{_PREFIX}SCANS") or "warn"
        listed = os.environ.get(f"{_PREFIX}ORGANISATIONS", "")
        names = frozenset(filter(None, (name.strip() for name in listed.split(","))))
        if listed and not names:
            msg = f"{_PREFIX}ORGANISATIONS: expected names with commas, found {listed!r}. Unset it to allow all."
            raise InvalidSettingsError(msg)
        return cls(
            scans=scans,  # type: ignore[arg-type] # checked above
            organisations=names,
            lock_file=Path(os.environ.get(f"{_PREFIX}LOCK_FILE") or LOCK_FILE),
        )

    def check_organisation(self, ref: SoftPromptRef) -> None:
        """Refuse an organisation that is not on the list, before anything is asked.

        Raises:
            UntrustedSoftPromptError: It is not.
        """
        organisation = (ref.repo_id or "").split("/")[0]
        if self.organisations and organisation.lower() not in {name.lower() for name in self.organisations}:
            allowed = ", ".join(sorted(self.organisations))
            msg = (
                f"{ref}: soft prompts of {organisation!r} are not allowed here, only those of: {allowed}. "
                f"Add it to {_PREFIX}ORGANISATIONS, or use a local folder."
            )
            raise UntrustedSoftPromptError(msg)


_chosen: HubPolicy | None = None


def set_policy(policy: HubPolicy | None) -> None:
    """Choose the rules of this process; ``None`` goes back to what the environment says.

    They hold from the next use of a name on, loaded already or not.

    Raises:
        InvalidSettingsError: It is no `HubPolicy`.
    """
    global _chosen
    if policy is not None and not isinstance(policy, HubPolicy):
        msg = f"set_policy: expected a HubPolicy or None, found {policy!r}."
        raise InvalidSettingsError(msg)
    _chosen = policy


def current_policy() -> HubPolicy:
    """The rules that hold.

    Raises:
        InvalidSettingsError: The environment names rules there are not.
    """
    return _chosen if _chosen is not None else HubPolicy.from_environment()


__all__ = ["LOCK_FILE", "HubPolicy", "UntrustedSoftPromptWarning", "current_policy", "set_policy"]
