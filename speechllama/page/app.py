"""The page in the browser: a recording in; text, hypotheses with scores and the picture out.

Speech2Text, limits -> gradio app on a port of this machine
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechllama.decode.long import LongConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.faults import InputError, name_file
from speechllama.page.answer import Controls, Limits, answer, prompt_languages, prompt_targets, read_upload, show_error
from speechllama.page.uploads import forget, private_folder, separate_uploads

TITLE = "speechllama"
KEPT_SECONDS = 600  # of a recording that was uploaded and never translated; of samples in memory, for another try
SWEEP_SECONDS = 60  # between looks for such recordings
MAX_BEAM = 10
STYLE = """
.segment { border-top: 1px solid var(--border-color-primary); padding: 0.6em 0; }
.segment .text { font-size: 1.25em; }
.times, .progress, .downloads { color: var(--body-text-color-subdued); }
.nbest td, .nbest th { padding: 0.1em 0.8em 0.1em 0; text-align: left; }
.picture { overflow-x: auto; background: white; }
.picture img { max-width: none; height: 26em; }
.error { color: #b00020; font-weight: 600; }
"""


@dataclass(frozen=True)
class PageConfig:
    """Where the page is, and what it takes.

    Attributes:
        host: Address to listen on; 127.0.0.1 is this machine only.
        port: Port; 0 takes any that is free.
        limits: Size and duration of a recording.
        beam_size: Of the search, at first; 0: as the model was packed with.
        cutting: How a long recording is cut.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    limits: Limits = field(default_factory=Limits)
    beam_size: int = 0
    cutting: LongConfig = field(default_factory=LongConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.beam_size <= MAX_BEAM:
            raise InputError(f"beam_size {self.beam_size} must lie between 1 and {MAX_BEAM}, or be 0")


def check_gradio() -> None:
    """Refuse to load a model for nothing.

    Raises:
        ValueError: gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs gradio; install it: pip install -e '.[demo]'")


def import_gradio() -> Any:
    """Import gradio, with nothing that it would tell its makers; inside `private_folder`, where it keeps its files.

    Each upload gets a folder of its own.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio
    from gradio import route_utils

    separate_uploads(route_utils)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it asks its own server whether that answers
    return gradio


@dataclass(frozen=True)
class Kept:
    """The samples of the last recording of a session, for another try: they are in memory only."""

    path: str = ""
    waveform: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


class Page:
    """The page of one system.

    Args:
        translator: The system.
        config: Where it is, and what it takes.
        folder: Where uploads are; see `private_folder`.
    """

    def __init__(self, translator: Speech2Text, config: PageConfig, folder: Path) -> None:
        self.translator, self.config, self.folder = translator, config, folder

    def translate(
        self, path: str | None, language: str | None, target: str | None, beam_size: float, kept: Kept | None
    ) -> Iterator[tuple[str, Kept | None]]:
        """Translate an uploaded recording, or again the one that is kept; then delete its file.

        Args:
            path: The recording; None if nothing was chosen.
            language: Code of the source language, where the prompt names it.
            target: Code of the language to write, where the system writes several.
            beam_size: Hypotheses of the search.
            kept: The recording before.

        Yields:
            The result as HTML, and the recording to keep.
        """
        if not path:
            yield show_error("Choose a file or record something first."), kept
            return
        shown = ""
        try:
            if Path(path).is_file():
                kept = Kept(path, read_upload(path, self.config.limits))
            elif kept is None or kept.path != path:
                raise InputError(f"{path}: no longer on the server; choose it again")
            controls = Controls(language or "", target or "", int(beam_size))
            for shown in answer(self.translator, kept.waveform, controls, self.config.cutting):
                yield shown, kept
        except (InputError, OSError) as error:
            message = name_file(Path(path).name, self._without_folders(str(error), path))
            yield shown + show_error(message), kept
        except Exception as error:  # one recording must not end the page
            logging.exception("the page failed on a recording")
            words = f"{type(error).__name__}: {' '.join(str(error).split())}"
            message = f"The program failed on this recording ({words}); the server's log says where."
            yield shown + show_error(self._without_folders(message, path)), kept
        finally:
            forget(path, self.folder)

    @staticmethod
    def _without_folders(message: str, path: str) -> str:
        """Name the recording as the user knows it."""
        return message.replace(path, Path(path).name)

    def build(self) -> Any:
        """Lay the page out.

        Returns:
            gradio's Blocks.
        """
        gradio = import_gradio()
        limits, languages = self.config.limits, prompt_languages(self.translator)
        targets = prompt_targets(self.translator)
        beam_size = self.config.beam_size or min(self.translator.config.beam_size, MAX_BEAM)
        with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS)) as blocks:
            name = Path(self.translator.folder).resolve().name.removesuffix(".unpacked")
            gradio.Markdown(f"# {TITLE}: {name}")
            with gradio.Row():
                audio = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Speech", buttons=[])
                with gradio.Column():
                    language = gradio.Dropdown(
                        [(name, code) for code, name in sorted(languages.items(), key=lambda entry: entry[1])],
                        label="Language of the speech",
                        visible=bool(languages),
                    )
                    target = gradio.Dropdown(
                        [(name, code) for code, name in targets.items()],
                        label="Language to write",
                        visible=bool(targets),
                    )
                    beam = gradio.Slider(1, MAX_BEAM, beam_size, step=1, label="Beam size")
                    with gradio.Row():
                        start = gradio.Button("Translate", variant="primary")
                        stop = gradio.Button("Cancel")
            gradio.Markdown(
                f"At most {limits.max_megabytes:g} MB and {limits.max_seconds:g} s. The file is deleted from the "
                f"server with the answer; its samples stay in memory for {KEPT_SECONDS // 60} minutes, for another try."
            )
            result = gradio.HTML(elem_id="result", js_on_load=None)
            kept = gradio.State(None, time_to_live=KEPT_SECONDS)
            running = start.click(
                self.translate, [audio, language, target, beam, kept], [result, kept], api_visibility="private"
            )
            stop.click(None, cancels=[running], api_visibility="private")
        return blocks

    def launch(self) -> tuple[Any, str]:
        """Start the page in the background.

        Returns:
            gradio's Blocks, whose `close` ends it, and the address.

        Raises:
            ValueError: The port is taken, or the address is not one of this machine's.
        """
        config = self.config
        blocks = self.build()
        try:
            _, address, _ = blocks.queue(default_concurrency_limit=1).launch(
                server_name=config.host,
                server_port=config.port or None,
                max_file_size=int(config.limits.max_megabytes * 1e6),
                css=STYLE,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                show_error=True,
                prevent_thread_lock=True,
                quiet=True,
            )
        except OSError as error:
            raise InputError(
                f"{config.host}:{config.port}: cannot listen there ({error}); give another --host or --port"
            ) from error
        return blocks, str(address)


def serve_page(translator: Speech2Text, config: PageConfig) -> None:
    """Serve the page until SIGINT or SIGTERM, then delete what was uploaded.

    Raises:
        ValueError: As of `Page.launch`.
    """
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with private_folder() as folder:
        blocks, address = Page(translator, config, folder).launch()
        try:
            logging.info("the page is at %s; Ctrl-C ends it", address)
            end.wait()
        finally:
            blocks.close()
    logging.info("the page is closed, and what was uploaded is deleted")
