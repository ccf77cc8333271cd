"""One model behind an endpoint: a request in -> its place in the queue, its file, its batches -> its answer.

state: loading -> ok -> draining, or failed
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from speechllama.decode.long import Segment, warn_if_cut
from speechllama.faults import InputError, name_file
from speechllama.serve.answer import About, answer
from speechllama.serve.batcher import Batcher
from speechllama.serve.form import Body, Form
from speechllama.serve.limits import Limits, RequestError
from speechllama.serve.lost_gpu import is_lost_gpu
from speechllama.serve.recording import Endpoint, Recording, ServedModel, Spoken

State = Literal["loading", "ok", "draining", "failed"]
NUM_READERS = 4  # threads that open uploads: enough to keep the batcher busy, few enough to leave it a core
CLIENT_GONE = 499  # nginx's status, for the log; no client reads this answer


class Service:
    """Takes requests for one model.

    Args:
        name: What clients call the model.
        load: Loads it; called once, in a thread.
        limits: What it accepts.
        api_key: What a client must send as its bearer token; "" lets every client in.

    Attributes:
        num_active: Accepted requests that have no answer yet.
        failure: Why the model could not be loaded; None if it could, or still may.
    """

    def __init__(self, name: str, load: Callable[[], ServedModel], limits: Limits, api_key: str = "") -> None:
        self.name, self.limits, self.created = name, limits, int(time.time())
        self.num_active = 0
        self.failure: Exception | None = None
        self._load, self._api_key = load, api_key
        self._model: ServedModel | None = None
        self._batcher: Batcher[Spoken, Segment] | None = None
        self._readers = anyio.CapacityLimiter(NUM_READERS)
        self._is_draining = False

    @property
    def state(self) -> State:
        """Whether it takes requests, or why not."""
        if self._batcher is not None and self._batcher.failure is not None:
            return "failed"
        if self._is_draining:
            return "draining"
        return "loading" if self._batcher is None else "ok"

    @property
    def has_ended(self) -> bool:
        """Whether it can end: the model cannot be loaded, or nothing more is taken and all accepted is answered."""
        return self.failure is not None or (self.state in ("draining", "failed") and self.num_active == 0)

    def drain(self) -> None:
        """Accept nothing more; accepted requests are finished."""
        self._is_draining = True

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Load the model while the server already says that it does; at the end, let the batcher finish."""
        loading = asyncio.create_task(self._start())
        yield
        await loading
        if self._batcher is not None:
            await anyio.to_thread.run_sync(self._batcher.close)

    async def _start(self) -> None:
        try:
            self._model = await anyio.to_thread.run_sync(self._load)
        except Exception as error:  # the entry point raises it again, when the server has ended
            self.failure = error
            return
        size, wait = self.limits.batch_size, self.limits.max_wait_ms / 1000
        self._batcher = Batcher(self._model.decode, size, wait, is_lost_gpu)
        logging.info("%s is ready; it answers /v1/audio/%s", self.name, " and ".join(self._model.endpoints))

    def check_key(self, request: Request) -> None:
        """Refuse a client without the key.

        Raises:
            RequestError: The header is missing or another.
        """
        found = request.headers.get("authorization", "").encode()
        if self._api_key and not hmac.compare_digest(found, f"Bearer {self._api_key}".encode()):
            raise RequestError(401, "wrong or no API key; expected `Authorization: Bearer KEY`", code="invalid_api_key")

    async def answer(self, request: Request, endpoint: Endpoint) -> Response:
        """Answer a request within its time.

        Raises:
            RequestError: It gets no text; why.
        """
        body = Body(request, self.limits)
        try:
            with anyio.fail_after(self.limits.request_seconds):
                self.check_key(request)
                with self._admit(endpoint) as model:
                    async with body.form(self.name) as form:
                        return await self._answer(model, form, body, endpoint)
        except RequestError:
            await body.discard()
            raise
        except TimeoutError:
            limit = f"{self.limits.request_seconds:g} s"
            raise RequestError(504, f"no answer within {limit}; send shorter recordings", code="timeout") from None
        except ClientDisconnect:
            logging.info("a client left before its answer; its work is dropped")
            return Response(status_code=CLIENT_GONE)

    @contextlib.contextmanager
    def _admit(self, endpoint: Endpoint) -> Iterator[ServedModel]:
        """Give a request its place in the queue."""
        if self._model is None or self.state != "ok":
            raise self._refusal()
        if endpoint not in self._model.endpoints:
            trained = " and ".join(self._model.endpoints)
            message = f"{self.name} does not answer /v1/audio/{endpoint}; it was trained for {trained}"
            raise RequestError(400, message, "model", "wrong_endpoint")
        if self.num_active >= self.limits.max_queue:
            raise RequestError(503, f"the queue of {self.num_active} requests is full; try again later", code="full")
        self.num_active += 1
        try:
            yield self._model
        finally:
            self.num_active -= 1

    def _refusal(self) -> RequestError:
        """Say that nothing is decoded in this state."""
        why = "has lost its GPU, and ends" if self.state == "failed" else f"is {self.state}"
        return RequestError(503, f"the server {why}; try again later", code=self.state)

    async def _answer(self, model: ServedModel, form: Form, body: Body, endpoint: Endpoint) -> Response:
        """Answer a form; the recording belongs to the batcher once it is submitted."""
        try:
            longest = self.limits.max_recording_seconds
            recording = await anyio.to_thread.run_sync(model.open, form, longest, endpoint, limiter=self._readers)
            segments = await self._decode(recording, body)
        except InputError as error:
            raise RequestError(400, name_file(form.name, str(error)), "file", "bad_audio") from error
        except (RequestError, ClientDisconnect):
            raise
        except Exception as error:
            if self.state == "failed":  # the batcher has logged why
                raise self._refusal() from error
            logging.exception("a request failed")
            message = f"decoding failed ({type(error).__name__}); the server's log says more"
            raise RequestError(500, message, code="decoding_failed") from error
        for segment in segments:
            warn_if_cut(repr(form.name), segment, model.translator)  # quoted: the client's name may hold line breaks
        task = "translate" if endpoint == "translations" else "transcribe"
        about = About(task, model.language_name(endpoint, form.language, form.target), recording.duration)
        return answer(segments, form.response_format, about)

    async def _decode(self, recording: Recording, body: Body) -> list[Segment]:
        """Wait for the texts, unless the client leaves or time runs out; then the work is dropped."""
        assert self._batcher is not None
        texts = asyncio.wrap_future(self._batcher.submit(recording))
        gone = asyncio.ensure_future(body.disconnected())
        either: set[asyncio.Future[Any]] = {texts, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not texts.done():
                raise ClientDisconnect
            return texts.result()
        finally:
            texts.cancel()
            gone.cancel()
