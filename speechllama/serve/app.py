"""The HTTP application: routes of OpenAI's audio API -> Service -> answers, and errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from speechllama.serve.form import FIELDS
from speechllama.serve.limits import RequestError
from speechllama.serve.recording import Endpoint
from speechllama.serve.service import Service

# The form, for /docs and /openapi.json: it is read by hand, since its size is limited while it comes.
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file", "model"],
    "properties": FIELDS,
}
TAKES_FORM: dict[str, Any] = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}


def create_app(service: Service) -> FastAPI:
    """Make the application of a service."""
    app = FastAPI(title="speechllama", lifespan=service.lifespan)
    app.add_exception_handler(RequestError, answer_request_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)

    def add_endpoint(endpoint: Endpoint) -> None:
        async def speech(request: Request) -> Response:
            return await service.answer(request, endpoint)

        add = app.post(f"/v1/audio/{endpoint}", summary=f"Text of a recording ({endpoint})", openapi_extra=TAKES_FORM)
        add(speech)

    add_endpoint("translations")
    add_endpoint("transcriptions")

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """List the one model."""
        service.check_key(request)
        return {"object": "list", "data": [describe_model(service)]}

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        """Describe the one model."""
        service.check_key(request)
        if name != service.name:
            message = f"unknown model {name!r}; this server has {service.name!r}"
            raise RequestError(404, message, "model", "model_not_found")
        return describe_model(service)

    @app.get("/health")
    async def health() -> JSONResponse:
        """Say whether requests are taken, and how many there are."""
        state = service.state
        queue = {"queue_length": service.num_active, "max_queue": service.limits.max_queue}
        return JSONResponse({"status": state, "model": service.name, **queue}, 200 if state == "ok" else 503)

    return app


def describe_model(service: Service) -> dict[str, Any]:
    """Describe the model as OpenAI's API does."""
    return {"id": service.name, "object": "model", "created": service.created, "owned_by": "speechllama"}


async def answer_request_error(_request: Request, error: Exception) -> Response:
    """Answer a request that gets no text."""
    assert isinstance(error, RequestError)
    return JSONResponse(error.body, error.status, error.headers)


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Answer what no route takes."""
    assert isinstance(error, HTTPException)
    body = RequestError(error.status_code, str(error.detail)).body
    return JSONResponse(body, error.status_code, error.headers)


async def answer_fault(_request: Request, error: Exception) -> Response:
    """Answer after a fault of the server, whose traceback uvicorn logs."""
    return JSONResponse(RequestError(500, f"a fault of the server ({type(error).__name__})").body, 500)
