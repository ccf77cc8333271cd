"""The server: uvicorn, but a signal first drains the queue. It still answers /health and refuses new work with 503.

Without its GPU it ends by itself, with status 1, so that what supervises it starts it again.
"""

from __future__ import annotations

import logging
import socket
import time
from types import FrameType

import uvicorn

from speechllama.serve.app import create_app
from speechllama.serve.service import Service

FAILED_SECONDS = 5.0  # how long a server without its GPU waits for clients that still send their requests


class Server(uvicorn.Server):
    """Serves until a signal; then it finishes accepted requests. A second signal ends it at once.

    Args:
        service: What answers.
        host: Address to listen on.
        port: Port; 0 takes a free one.

    Attributes:
        url: Where it listens, from the beginning on: "http://127.0.0.1:8000".

    Raises:
        OSError: Nothing can listen there.
    """

    def __init__(self, service: Service, host: str, port: int) -> None:
        super().__init__(uvicorn.Config(create_app(service), log_config=None, server_header=False))
        self.service = service
        self._give_up_at: float | None = None  # of time.monotonic
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}; take another --port") from error
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._socket.getsockname()[1]}"

    def serve_until_ended(self) -> int:
        """Serve until a signal, or until the GPU is lost.

        Returns:
            The exit status: 0, or 1 after a second signal or without the GPU.

        Raises:
            Exception: The model cannot be loaded; why.
        """
        logging.info("listening on %s", self.url)
        self.run(sockets=[self._socket])
        if self.service.failure is not None:
            raise self.service.failure
        return 1 if self.force_exit or self.service.state == "failed" else 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain. The signal is not raised again at the end, as uvicorn does: the exit status of a clean end is 0."""
        if self.service.state in ("draining", "failed"):
            self.force_exit = self.should_exit = True
            return
        logging.info("signal %d: finishing %d requests", sig, self.service.num_active)
        self.service.drain()

    async def on_tick(self, counter: int) -> bool:
        """Say whether to end; called ten times a second."""
        self.should_exit = self.should_exit or self.service.has_ended
        if self.service.state == "failed":
            self._give_up_at = self._give_up_at or time.monotonic() + FAILED_SECONDS
            self.force_exit = self.force_exit or time.monotonic() > self._give_up_at
            self.should_exit = self.should_exit or self.force_exit
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; if it is to end at once, without the connections that are open, on which Python 3.12 would wait."""
        if self.force_exit:
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        if self.service.state == "failed":  # a client that reads slowly must not delay the next start
            self.config.timeout_graceful_shutdown = round(FAILED_SECONDS)
        await super().shutdown(sockets)
