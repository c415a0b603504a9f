"""The server itself: it listens on this machine's own address, and a test's hands are on it."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from langchain_softprompt.engine import Engine
from langchain_softprompt.sampling import TokenLogprob
from tests.vllm import events
from tests.vllm.asked import ROUTES, Only, RefusalError, Understood, understand
from tests.vllm.faults import Fault, Faults

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_softprompt.frozen_model import FrozenModel
    from langchain_softprompt.soft_prompt import SoftPrompt

MODEL = "tiny"
_HOST = "127.0.0.1"


class LoopbackVLLM(Faults):
    """A vLLM server for one test.

    Args:
        model: What it serves.
        soft_prompts: What its plug-in has.
        api_key: What it wants to be shown.
        max_model_len: Its room.

    Attributes:
        name: What it calls the model.
        root: Where it says it has it from.
        plugin: Whether it has our plug-in.
        fingerprint: What the plug-in says of the weights.
        dtype: What the plug-in says of their type.
        holds_to_grammars: Whether it does.
        reads_as_sent: Whether it reads the prompt's tokens; else it reads one more.
        pace: Seconds from a token to the next.
        requests: What was asked: path and body.
        keys: What ``Authorization`` each request came with.
        cancelled: How many answers nobody waited for to the end.
        connections: How many there have been.
    """

    def __init__(
        self,
        model: FrozenModel,
        soft_prompts: tuple[SoftPrompt, ...] = (),
        *,
        api_key: str | None = None,
        max_model_len: int = 1024,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = model.tokenizer
        self.soft_prompts = {one.content_hash: one for one in soft_prompts}
        self.api_key = api_key
        self.max_model_len = max_model_len
        self.name = MODEL
        self.root: str | None = MODEL
        self.plugin = True
        self.fingerprint: str | None = model.fingerprint
        self.dtype: str | None = "float32"
        self.holds_to_grammars = True
        self.reads_as_sent = True
        self.pace = 0.0
        self.requests: list[tuple[str, Any]] = []
        self.keys: list[str | None] = []
        self.cancelled = 0
        self.connections = 0
        self.crashes: list[str] = []
        # What ends an answer is said with each request.
        self._ends, model.eos_token_ids = model.eos_token_ids, ()
        self.engine = Engine(model)
        self._port = 0
        self._listener: _Listener | None = None

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}"

    def asked(self, path: str = "completions") -> list[Any]:
        """The bodies of requests whose path holds a text."""
        return [body for asked, body in self.requests if path in asked]

    def up(self) -> None:
        """Listen: at first on a free port, later on the same again."""
        self._listener = _Listener(self, self._port)
        self._port = self._listener.server_port
        self._listener.start()

    def down(self) -> None:
        """Die: connections are refused, and those that are open break off."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.heal()
        self.down()
        self.engine.close()
        self.model.eos_token_ids = self._ends
        if self.crashes and error is None:
            raise AssertionError("The loopback vLLM made a mistake:\n" + "\n".join(self.crashes))

    # What it says of itself.

    def models(self) -> dict[str, Any]:
        card = {
            "id": self.name,
            "object": "model",
            "owned_by": "vllm",
            "root": self.root,
            "parent": None,
            "max_model_len": self.max_model_len,
        }
        return {"object": "list", "data": [card]}

    def told(self) -> dict[str, Any] | None:
        if not self.plugin:
            return None
        model = {"id": self.name, "root": self.root, "fingerprint": self.fingerprint, "dtype": self.dtype}
        return {
            "plugin": "0.1.0",
            "model": {**model, "max_model_len": self.max_model_len, "hidden_size": self.model.hidden_size},
            "soft_prompts": [
                {"content_hash": one.content_hash, "kind": one.kind, "virtual_tokens": one.num_virtual_tokens, "source": one.source}
                for one in self.soft_prompts.values()
            ],
        }


class _Listener(ThreadingHTTPServer):
    """Accepts connections in a thread of its own, and knows them all."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, vllm: LoopbackVLLM, port: int) -> None:
        super().__init__((_HOST, port), _Connection)
        self.vllm = vllm
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="loopback-vllm", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.vllm.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """That a client hung up is none of our business."""
        error = traceback.format_exc()
        if "ConnectionError" not in error and "BrokenPipe" not in error and "ConnectionReset" not in error and "_GoneError" not in error:
            self.vllm.crashes.append(error)


class _GoneError(Exception):
    """Nobody waits any more."""


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        vllm = self.server.vllm
        self._note(None)
        if self._goes_wrong(vllm.due(self.path)) or not self._let_in():
            return
        told = {"/v1/models": vllm.models, "/v1/soft_prompts": vllm.told}.get(self.path, lambda: None)()
        self._send(200 if told else 404, told or {"detail": "Not Found"})

    def do_POST(self) -> None:
        vllm = self.server.vllm
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length)
        if len(content) < length:  # who asked has hung up
            self.close_connection = True
            return
        body = json.loads(content)
        self._note(body)
        fault = vllm.due(self.path)
        if self._goes_wrong(fault) or not self._let_in():
            return
        if self.path not in ROUTES or (self.path.startswith("/v1/soft_prompts") and not vllm.plugin):
            self._send(404, {"detail": "Not Found"})
            return
        try:
            asked = understand(vllm, self.path, body)
        except RefusalError as refusal:
            if refusal.status == 200:
                self._stream([json.dumps(refusal.content), "[DONE]"])
            else:
                self._send(refusal.status, refusal.content)
            return
        self._answer(asked, fault)

    # Answers.

    def _answer(self, asked: Understood, fault: Fault | None) -> None:
        vllm = self.server.vllm
        prompt = asked.prompt if vllm.reads_as_sent else [*asked.prompt, 0]
        asked = Understood(**{**asked.__dict__, "prompt": prompt})
        self._begin_stream()
        sent = 0
        try:
            for event in self._events(asked):
                tokens = [one for choice in event["choices"] for one in choice.get("token_ids") or ()]
                if fault is not None and fault.after is not None and sent >= fault.after and (tokens or fault.ending_due(event)):
                    if fault.cut:
                        self._hang_up()
                        return
                    if fault.hang:
                        fault.keep()
                    elif fault.event is not None:
                        self._event(fault.event if isinstance(fault.event, str) else json.dumps(fault.event))
                        if isinstance(fault.event, dict) and "error" in fault.event:
                            break
                        continue
                    else:
                        break
                self._event(json.dumps(event))
                sent += len(tokens)
            self._event("[DONE]")
            self._end_stream()
        except (_GoneError, OSError):
            vllm.cancelled += 1
            self.close_connection = True

    def _events(self, asked: Understood) -> Any:
        vllm = self.server.vllm
        yield from events.first(asked, vllm.name)
        if isinstance(asked.constraint, Only):
            yield from self._one_token(asked, asked.constraint)
            return
        generation = vllm.engine.submit(
            asked.token_ids,
            soft_prompt=asked.soft_prompt,
            settings=asked.settings,
            allow_other_model=True,
            constraint=asked.constraint,
        )
        ends, count = asked.settings.stop_token_ids, 0
        try:
            for number, token in enumerate(generation):
                self._look()
                logprob = generation.logprob(number)
                count += 1
                reason = "length" if count == asked.settings.max_new_tokens else None
                text = vllm.tokenizer.decode([token])
                yield events.token(asked, vllm.name, number, token, text, logprob, reason)
        finally:
            generation.cancel()
        result = generation.result()
        if result.finish_reason == "stop" and count < asked.settings.max_new_tokens:
            last = TokenLogprob(-0.5) if asked.settings.top_logprobs is not None else None
            yield events.token(asked, vllm.name, count, ends[0], "", last, "stop")
            count += 1
        yield events.usage(asked, vllm.name, count, result.cached_tokens)

    def _one_token(self, asked: Understood, only: Only) -> Any:
        vllm = self.server.vllm
        token = only.tokens[0]
        scoring = vllm.engine.score(asked.token_ids, [[token]], soft_prompt=asked.soft_prompt, allow_other_model=True)
        logprob = TokenLogprob(scoring.result().log_probs[0][0])
        yield events.token(asked, vllm.name, 0, token, "", logprob, "length")
        yield events.usage(asked, vllm.name, 1, scoring.result().cached_tokens)

    def _look(self) -> None:
        """Wait for as long as a token takes, and see whether somebody still listens."""
        until = time.monotonic() + self.server.vllm.pace
        while True:
            left = max(0.0, until - time.monotonic())
            readable, _, _ = select.select([self.connection], [], [], min(left, 0.02))
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise _GoneError
            if left == 0:
                return

    # Going wrong.

    def _goes_wrong(self, fault: Fault | None) -> bool:
        """Whether there is no answer at all."""
        if fault is None or fault.after is not None:
            return False
        if fault.hang:
            fault.reached.set()
            fault.keep()
            return False
        if fault.cut:
            self._hang_up()
            return True
        if fault.status is not None:
            self._send(fault.status, fault.body, fault.headers)
            return True
        return False

    def _let_in(self) -> bool:
        key = self.server.vllm.api_key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._send(401, {"error": "Unauthorized"})
        return False

    # The wire.

    def _note(self, body: Any) -> None:
        self.server.vllm.requests.append((self.path, body))
        self.server.vllm.keys.append(self.headers.get("Authorization"))

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, lines: list[str]) -> None:
        self._begin_stream()
        for line in lines:
            self._event(line)
        self._end_stream()

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, data: str) -> None:
        piece = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """`LoopbackVLLM.requests` has it."""
