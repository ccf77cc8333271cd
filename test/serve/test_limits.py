"""Limits are checked when they are set, and an error has the shape that OpenAI's clients read."""

from __future__ import annotations

import pytest

from speechllama.serve.limits import Limits, RequestError


@pytest.mark.parametrize(
    "name", ["max_megabytes", "max_recording_seconds", "max_queue", "request_seconds", "batch_size"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_above_0(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"--{name} {value}: expected a number above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind", "headers"),
    [
        (400, "invalid_request_error", {}),
        (401, "invalid_request_error", {"WWW-Authenticate": "Bearer"}),
        (500, "server_error", {}),
        (503, "server_error", {"Retry-After": "2"}),
    ],
)
def test_an_error_says_whose_fault_it_is_and_what_to_do(status: int, kind: str, headers: dict[str, str]) -> None:
    error = RequestError(status, "no file", "file", "missing")
    assert error.body == {"error": {"message": "no file", "type": kind, "param": "file", "code": "missing"}}
    assert error.headers == headers
