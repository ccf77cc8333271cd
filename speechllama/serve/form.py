"""The form of a request: a body, counted while it comes -> Form (file, language, response_format), or a RequestError.

The file stays in memory up to 1 MB; a larger one is a temporary file without a name, which nothing leaves on the disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from speechllama.serve.answer import FORMATS
from speechllama.serve.limits import Limits, RequestError

# Fields of OpenAI's API that are read here, and one of ours, each as openapi.json describes it. A client learns of any
# other that it does nothing.
FIELDS: dict[str, dict[str, Any]] = {
    "file": {"type": "string", "format": "binary"},
    "model": {"type": "string"},
    "language": {"type": "string", "description": "code of the source language, if the model's prompt names it"},
    "prompt": {"type": "string", "maxLength": 0, "description": "to be left out: the prompt is that of the training"},
    "response_format": {"type": "string", "enum": [*FORMATS], "default": "json"},
    "temperature": {"type": "number", "enum": [0], "default": 0},
    "timestamp_granularities[]": {"type": "string", "enum": ["segment"]},
    "target_language": {"type": "string", "description": "code of the language to write, if the model writes several"},
}
MAX_FIELD_BYTES = 16_000  # of each field that is no file
OVERHEAD_BYTES = 100_000  # what fields and boundaries may add to the file
DISCARD_SECONDS = 5.0  # how long the rest of a refused body is read, so that the client can read the answer


@dataclass(frozen=True)
class Form:
    """A request that can be worked on.

    Attributes:
        file: The upload.
        name: What the client calls it.
        language: Code of the source language, or "".
        target: Code of the language to write, or "" for the model's own.
        response_format: A name in FORMATS.
    """

    file: UploadFile
    name: str
    language: str
    target: str
    response_format: str


class Body:
    """The body of a request, which is refused as soon as it is too large.

    Args:
        request: The request.
        limits: Of them, the size of an upload counts.
    """

    def __init__(self, request: Request, limits: Limits) -> None:
        self._request, self._limits = request, limits
        self._num_bytes, self._is_complete = 0, False

    @contextlib.asynccontextmanager
    async def form(self, model: str) -> AsyncIterator[Form]:
        """Read the form; its file is closed at the end of the context.

        Args:
            model: Name of the model that is served.

        Raises:
            RequestError: The body is too large or no form, or a field is missing, unknown or has a wrong value.
        """
        kind = self._request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "multipart/form-data":
            raise RequestError(400, f"expected a multipart/form-data body, found content-type {kind!r}")
        if int(self._request.headers.get("content-length", 0)) > self._limits.max_bytes + OVERHEAD_BYTES:
            raise self._too_large()
        counted = Request(self._request.scope, self._receive)
        try:
            form = await counted.form(max_files=1, max_fields=2 * len(FIELDS), max_part_size=MAX_FIELD_BYTES)
        except HTTPException as error:
            raise RequestError(error.status_code, f"the form cannot be read: {error.detail}") from error
        try:
            found = check_form(form, model)
            if (found.file.size or 0) > self._limits.max_bytes:
                raise self._too_large()
            yield found
        finally:
            await form.close()

    async def discard(self) -> None:
        """Read what is left of a refused body for a while: many clients write all of it before they read an answer."""
        if self._request.headers.get("expect", "").lower() == "100-continue" and not self._num_bytes:
            return  # the client waits before it writes
        with anyio.move_on_after(DISCARD_SECONDS):
            while not self._is_complete:
                await self._read()

    async def disconnected(self) -> None:
        """Return when the client is gone; to be called when the form is read."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _read(self) -> Any:
        message = await self._request.receive()
        self._num_bytes += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message

    async def _receive(self) -> Any:
        message = await self._read()
        if self._num_bytes > self._limits.max_bytes + OVERHEAD_BYTES:
            raise self._too_large()
        return message

    def _too_large(self) -> RequestError:
        limit = f"{self._limits.max_megabytes:g} MB"
        return RequestError(413, f"the upload is larger than {limit}; compress it or cut it", "file", "file_too_large")


def check_form(form: FormData, model: str) -> Form:
    """Check every field.

    Raises:
        RequestError: One is missing, unknown, given twice, or has a wrong value.
    """
    values = dict(form.multi_items())
    for name in values:
        if name not in FIELDS:
            raise RequestError(400, f"unknown field {name!r}; expected some of {', '.join(FIELDS)}", name)
        if len(form.getlist(name)) > 1:
            raise RequestError(400, f"{name} is given {len(form.getlist(name))} times, expected once", name)
    file = values.pop("file", None)
    if not isinstance(file, UploadFile):
        raise RequestError(400, "no file; expected a field `file` with a file name and an audio file", "file")
    texts = {name: str(value).strip() for name, value in values.items()}
    check_model(texts.get("model", ""), model)
    if texts.get("prompt"):
        raise RequestError(400, "prompt: the model's own prompt is that of its training; leave the field out", "prompt")
    if texts.get("timestamp_granularities[]", "segment") != "segment":
        name = "timestamp_granularities[]"
        raise RequestError(400, f"{name} {texts[name]!r}: only times of segments are known; leave it out", name)
    check_temperature(texts.get("temperature") or "0")
    response_format = texts.get("response_format") or "json"
    if response_format not in FORMATS:
        message = f"unknown response_format {response_format!r}, expected one of {', '.join(FORMATS)}"
        raise RequestError(400, message, "response_format")
    languages = texts.get("language", ""), texts.get("target_language", "")
    return Form(file, file.filename or "the file", *languages, response_format)


def check_model(found: str, served: str) -> None:
    """Refuse another model than the one that is served.

    Raises:
        RequestError: It is none, or another.
    """
    if not found:
        raise RequestError(400, f"no model; expected a field `model` with {served!r}", "model")
    if found != served:
        raise RequestError(404, f"unknown model {found!r}; this server has {served!r}", "model", "model_not_found")


def check_temperature(found: str) -> None:
    """Refuse to sample: the search takes the best text it finds.

    Raises:
        RequestError: It is not 0.
    """
    try:
        is_zero = float(found) == 0
    except ValueError:
        is_zero = False
    if not is_zero:
        message = f"temperature {found!r}: the text is searched, not sampled; expected 0, or leave the field out"
        raise RequestError(400, message, "temperature")
