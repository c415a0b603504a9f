"""The Hub itself: it listens on this machine's own address, and a test's hands are on it."""

from __future__ import annotations

import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tests.hub import files, models, repositories, routes, uploads  # noqa: F401 - importing them adds their endpoints
from tests.hub.faults import Faults
from tests.hub.git import LINK, GitRepo
from tests.hub.store import MAIN, NewFile, Repository, Store
from tests.hub.wire import Answer, Refusal, Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

TOKEN = "hf_loopback"
USER = "tester"
_HOST = "127.0.0.1"
_SLOWEST_CLIENT = 30.0


class LoopbackHub(Faults):
    """A Hub of models for one test; what it keeps is under `folder`.

    Attributes:
        users: Names by token. One is known from the start: `TOKEN` of `USER`. Whoever has a token may write.
        requests: What has been asked, as ``GET /api/models/org/name``.
        offers_xet: Whether downloads are told of Xet. If not, large files come over HTTP, where `cut` and `corrupt` reach them.
        crashes: The tracebacks of mistakes in the server itself; leaving the ``with`` block tells of them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.store = Store(folder)
        self.users = {TOKEN: USER}
        self.requests: list[str] = []
        self.offers_xet = find_spec("hf_xet") is not None
        self.crashes: list[str] = []
        self.upload_tickets: dict[str, str] = {}
        self._port = 0
        self._listener: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}"

    def up(self) -> None:
        """Listen: at first on a free port, later on the same again."""
        self._listener = _Listener(self, self._port)
        self._port = self._listener.server_port
        self._listener.start()

    def down(self) -> None:
        """Listen no more: connections are refused. What is being answered is answered first."""
        if self._listener:
            self._listener.stop()
            self._listener = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.heal()
        self.down()
        if not self.crashes:
            return
        told = "The loopback Hub made a mistake:\n" + "\n".join(self.crashes)
        if error is None:
            raise AssertionError(told)
        error.add_note(told)

    # What a test does with its own hands, past every rule of the API.

    def add(self, repo: str, contents: Mapping[str, bytes | None], *, branch: str = "main", message: str = "Add files") -> str:
        """Commit files, or their deletion (`None`), straight to git; repository and branch are made if they are missing.

        Returns:
            The commit's id.
        """
        repository = self._made(repo)
        sizes = {path: len(content) for path, content in contents.items() if content is not None}
        with repository.lock:
            large = repository.goes_to_lfs(self._tip(repository, branch), sizes)
            return self._commit(
                repository, {path: self._file(content, path in large) for path, content in contents.items()}, branch, message
            )

    def plant_link(self, repo: str, path: str, target: str, *, branch: str = "main") -> str:
        """Commit a symbolic link; the path may be as odd as the target.

        Returns:
            The commit's id.
        """
        return self._commit(self._made(repo), {path: NewFile(target.encode(), LINK)}, branch, f"Link {path}")

    def head(self, repo: str, branch: str = "main") -> str:
        """The commit that a branch is at."""
        return self.git(repo).refs()[repositories.BRANCH + branch]

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """Every file's content at a revision, large ones too."""
        repository = self.store.repositories[repo]
        commit = repository.git.resolve(revision)
        if commit is None:
            raise KeyError(revision)
        return {path: repository.content(file) for path, file in repository.files(commit).items()}

    def set(self, repo: str, **standing: Any) -> None:
        """Change what the Hub says of a repository: the fields of `store.Standing`."""
        current = self.store.repositories[repo].standing
        for name, value in standing.items():
            if not hasattr(current, name):
                raise AttributeError(name)
            setattr(current, name, value)

    def git(self, repo: str) -> GitRepo:
        """The bare repository."""
        return self.store.repositories[repo].git

    def spoil_xet(self) -> None:
        """As `corrupt`, for what Xet has stored: its client reads the store by itself, and asks us for the way only."""
        self.store.large.xet.spoil()

    def _made(self, repo: str) -> Repository:
        return self.store.repositories.get(repo) or self.store.create(repo, USER)

    def _file(self, content: bytes | None, is_large: bool) -> NewFile | None:
        if content is None or not is_large:
            return NewFile(content) if content is not None else None
        pointer = self.store.large.add(content)
        if self.offers_xet:
            self.store.large.xet.put(content)
        return NewFile(bytes(pointer))

    def _commit(self, repository: Repository, changes: Mapping[str, NewFile | None], branch: str, message: str) -> str:
        with repository.lock:
            parent = self._tip(repository, branch)
            return repository.commit(changes, repositories.BRANCH + branch, message, USER, parent=parent)

    def _tip(self, repository: Repository, branch: str) -> str:
        """The commit that the next one is to come after: a branch that isn't there begins at the main one's head."""
        refs = repository.git.refs()
        return refs.get(repositories.BRANCH + branch) or refs[MAIN]

    def answer(self, request: Request) -> Answer:
        """What a request gets, whatever happens."""
        self.requests.append(str(request))
        try:
            found = self.in_the_way(request) or routes.answer(self, request)
        except Refusal as refusal:
            return refusal.answer
        except Exception:  # noqa: BLE001 - told of when the test ends
            self.crashes.append(f"{request}\n{traceback.format_exc()}")
            found = None
        # 501 for what isn't here and for mistakes: unlike 500, the client doesn't try it again.
        return found or Refusal(501, f"The loopback Hub can't answer {request}").answer


class _Listener(ThreadingHTTPServer):
    """Accepts connections in a thread of its own."""

    daemon_threads = False  # so that stop() waits for what is being answered

    def __init__(self, hub: LoopbackHub, port: int) -> None:
        super().__init__((_HOST, port), _Connection)
        self.hub = hub
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="loopback-hub")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """That a client hung up is none of our business."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            self.hub.crashes.append(traceback.format_exc())


class _Connection(BaseHTTPRequestHandler):
    """One request a connection, as HTTP/1.0 has it: nothing stays open when a test is over."""

    server: _Listener
    timeout = _SLOWEST_CLIENT

    def handle_one(self) -> None:
        # The body is read in any case: a client that is still sending when we hang up would see a broken connection.
        request = Request(self.command, self.path, self.headers, self._body())
        answer = self.server.hub.answer(request)
        body, length = self.server.hub.spoilt(request, answer)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:length])

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 - the base class's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        """`LoopbackHub.requests` has it."""
