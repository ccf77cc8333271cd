"""What the server accepts, and how it refuses the rest: settings, and errors in the shape of OpenAI's API.

RequestError -> status, headers and {"error": {"message", "type", "param", "code"}}
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from speechllama.faults import InputError

RETRY_AFTER_SECONDS = 2  # what a refused client is told to wait; a batch takes about as long


@dataclass(frozen=True)
class Limits:
    """What a server accepts; every value is above 0.

    Attributes:
        max_megabytes: Largest upload, in units of 1,000,000 bytes.
        max_recording_seconds: Longest recording.
        max_queue: Most requests at a time, those that upload included.
        request_seconds: Longest time between the first byte of a request and its answer.
        batch_size: Most segments decoded at once.
        max_wait_ms: How long a batch that is not full waits for further requests.
    """

    max_megabytes: float = 100.0
    max_recording_seconds: float = 7200.0
    max_queue: int = 64
    request_seconds: float = 600.0
    batch_size: int = 8
    max_wait_ms: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputError(f"--{field.name} {value}: expected a number above 0")

    @property
    def max_bytes(self) -> int:
        """Largest upload in bytes."""
        return int(self.max_megabytes * 1e6)


class RequestError(Exception):
    """A request that gets no text.

    Attributes:
        status: HTTP status.
        message: What was found, what was expected, what to do.
        param: The field of the form that is to blame; None if none is.
        code: A word for programs, such as "model_not_found"; None if there is none.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The answer, as OpenAI's API words errors."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, if the server is only busy; how to authenticate, if the key is missing."""
        if self.status == 503:
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
