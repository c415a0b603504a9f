"""Which function answers which request."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tests.hub.wire import Answer, Request

if TYPE_CHECKING:
    from tests.hub.server import LoopbackHub

Endpoint = Callable[..., Answer]
_FORMS = {"repo": "[^/]+/[^/]+", "path": ".+"}  # any other name stands for one segment of the path
_ROUTES: list[tuple[str, re.Pattern[str], Endpoint]] = []


def endpoint(method: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
    """Let a function answer requests like ``/api/models/{repo}/tree/{revision}/{path}``: it is handed the parts by name."""
    parts = re.split(r"\{(\w+)\}", pattern)
    expression = "".join(f"(?P<{part}>{_FORMS.get(part, '[^/]+')})" if odd % 2 else re.escape(part) for odd, part in enumerate(parts))

    def keep(function: Endpoint) -> Endpoint:
        _ROUTES.append((method, re.compile(expression), function))
        return function

    return keep


def answer(hub: LoopbackHub, request: Request) -> Answer | None:
    """The answer of the first endpoint that knows the request; `None` if none does."""
    method = "GET" if request.method == "HEAD" else request.method
    for known, pattern, function in _ROUTES:
        if known == method and (found := pattern.fullmatch(request.quoted_path)):
            return function(hub, request, **{name: unquote(part) for name, part in found.groupdict().items()})
    return None
