"""The Hub's client, and its errors in plain words with the next step to take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_softprompt.errors import (
    HubAccessError,
    HubError,
    HubRateLimitError,
    HubUnreachableError,
    ModelUnavailableError,
    SoftPromptError,
    SoftPromptNotFoundError,
)
from langchain_softprompt.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOGIN = "log in with: hf auth login"
_TOKEN = re.compile(r"\b(hf_|api_org_)\w+|(?i:bearer\s+\S+)")
_QUERY = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>)]*")
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#\"<>]*@")
_WAIT = re.compile(r"(?:^|[;,\s]t=)(\d{1,6})\b")
_DISK = re.compile(r"\(os error \d+\)")  # how Xet's client says that a file can't be written
_MOST = 500


def client() -> HfApi:
    """The client, with the endpoint, token and cache that the environment names."""
    from huggingface_hub import HfApi

    from langchain_softprompt import __version__

    return HfApi(library_name="langchain-softprompt", library_version=__version__)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which error says what of a repository."""

    missing: type[SoftPromptError]
    no_access: type[SoftPromptError]
    unreachable: type[SoftPromptError]
    rate_limited: type[SoftPromptError]
    other: type[SoftPromptError]


FETCHING_SOFT_PROMPT = Kinds(SoftPromptNotFoundError, HubAccessError, HubUnreachableError, HubRateLimitError, HubError)
FETCHING_MODEL = Kinds(*[ModelUnavailableError] * 5)
ASKING = Kinds(SoftPromptNotFoundError, HubAccessError, HubUnreachableError, HubRateLimitError, HubError)


@contextmanager
def in_plain_words(repo_id: str, revision: str | None, kinds: Kinds, doing: str = "fetch", *, name: str = "") -> Iterator[None]:
    """Raise what the client raises as an error of ours that says what is wrong and what to do.

    Args:
        repo_id: The repository.
        revision: What of it was asked for.
        kinds: The errors to raise.
        doing: What can't be done, for errors of no known kind.
        name: What the user calls it; by default the repository and the revision.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined] # httpx or httpx2, whichever the client uses

    name = name or (f"{repo_id}@{revision}" if revision else repo_id)
    try:
        yield
    except SoftPromptError:
        raise
    except errors.GatedRepoError as error:
        msg = f"{name} is gated. Ask for access on its Hub page, then {_LOGIN}"
        raise kinds.no_access(msg) from _safe(error)
    except errors.DisabledRepoError as error:
        msg = f"{name} was disabled on the Hub, by its owner or by the Hub. Use another one, or ask its owner on its Hub page."
        raise kinds.no_access(msg) from _safe(error)
    except errors.RevisionNotFoundError as error:
        named = f"no branch, tag or commit {revision!r}" if revision else "no such branch, tag or commit"
        msg = f"{repo_id} has {named}. Look at its history on the Hub."
        raise kinds.missing(msg) from _safe(error)
    except errors.RepositoryNotFoundError as error:
        msg = f"The Hub has no repository {repo_id!r}, or it is private. Check the spelling, or {_LOGIN}"
        raise kinds.missing(msg) from _safe(error)
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.RevisionResolutionError) as error:
        raise kinds.unreachable(_out_of_reach(name, doing, error.__cause__)) from _safe(error)
    except errors.HfHubHTTPError as error:
        raise _of_status(name, error, kinds, doing) from _safe(error)
    except Exception as error:  # noqa: BLE001 - the HTTP client's own errors (a proxy's, say) come through as they are
        if isinstance(error, UnicodeEncodeError | httpx.LocalProtocolError) and not _token_can_be_sent():
            msg = f"Can't {doing} {name}: the token holds characters that no token has. Set HF_TOKEN anew, or {_LOGIN}"
            raise kinds.other(msg) from None
        out_of_reach = isinstance(error, httpx.TransportError | ConnectionError | TimeoutError)
        msg = f"Can't {doing} {name}: {plain(error)}{_of_this_machine(error)}"
        raise (kinds.unreachable if out_of_reach else kinds.other)(msg) from _safe(error)


def _out_of_reach(name: str, doing: str, cause: BaseException | None) -> str:
    from huggingface_hub import errors

    if doing != "fetch":
        return f"Can't {doing} {name}: the Hub can't be reached. Go online, and try again."
    if isinstance(cause, errors.HfHubHTTPError):
        return f"{name} is not in the local cache and the Hub is in trouble. Try again later, or give a local folder."
    return f"{name} is not in the local cache and the Hub can't be reached. Go online once, or give a local folder."


def _of_status(name: str, error: Exception, kinds: Kinds, doing: str) -> SoftPromptError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status == 429:
        headers = getattr(response, "headers", {})
        wait = _WAIT.search(f"{headers.get('Retry-After', '')};{headers.get('RateLimit', '')}")
        when = f"in {wait[1]} seconds" if wait else "in a few minutes"
        return kinds.rate_limited(f"The Hub was asked too often, and takes no more for now ({name}). Try again {when}, or {_LOGIN}")
    if status in (401, 403):
        return kinds.no_access(f"The Hub does not let you {doing} {name}: {plain(error)} Check the token's rights, or {_LOGIN}")
    if status >= 500:
        return kinds.unreachable(f"The Hub is in trouble (status {status}), can't {doing} {name}. Try again later.")
    return kinds.other(f"Can't {doing} {name}: {plain(error)}")


def _token_can_be_sent() -> bool:
    from huggingface_hub import get_token

    token = get_token() or ""
    return token.isascii() and token.isprintable() and " " not in token


def _of_this_machine(error: BaseException) -> str:
    """What to do where the trouble is not the Hub's."""
    from huggingface_hub import constants

    if isinstance(error, ConnectionError | TimeoutError) or not (getattr(error, "errno", None) or _DISK.search(str(error))):
        return ""
    return f". Make room or mend the rights there, or set HF_HUB_CACHE to another folder than {constants.HF_HUB_CACHE}."


def plain(error: object) -> str:
    """An error's text in one line and without what must not be in logs: tokens, passwords and signatures in addresses."""
    return printable(" ".join(without_secrets(str(error) or type(error).__name__).split()), _MOST)


def without_secrets(text: str) -> str:
    """The text without tokens, and its addresses without users, passwords and signatures."""
    return _TOKEN.sub("(token)", _QUERY.sub(r"\1", _USER.sub(r"\1", text)))


def _safe(error: BaseException) -> BaseException | None:
    """The cause to show beneath ours: not one that tells a secret, or has one beneath it."""
    waiting, seen = [error], {id(error)}
    while waiting:
        one = waiting.pop()
        told = f"{one} {' '.join(getattr(one, '__notes__', ()))}"
        if without_secrets(told) != told:
            return None
        beneath = [other for other in (one.__cause__, one.__context__) if other is not None and id(other) not in seen]
        seen.update(map(id, beneath))
        waiting += beneath
    return error


__all__ = ["ASKING", "FETCHING_MODEL", "FETCHING_SOFT_PROMPT", "Kinds", "client", "in_plain_words", "plain", "without_secrets"]
