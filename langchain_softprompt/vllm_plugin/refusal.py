"""RefusalError: a request that is answered with an error, in vLLM's own form of errors."""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import JSONResponse, Response


class RefusalError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        kind: What the error is called.
        message: What was wrong, and the next step.
    """

    def __init__(self, status: HTTPStatus, kind: str, message: str) -> None:
        self.status = status
        self.kind = kind
        self.message = message
        super().__init__(message)

    def response(self) -> Response:
        """In vLLM's own form of errors."""
        error = {"message": self.message, "type": self.kind, "param": "soft_prompt", "code": self.status.value}
        return JSONResponse({"error": error}, status_code=self.status.value)


__all__ = ["RefusalError"]
