"""From an upload to its texts: file -> pieces, as they are needed -> batches of pieces -> segments.

An upload has a descriptor and no name on the disk; /dev/fd/N is its path for the readers of audio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Literal, NamedTuple, cast

from speechllama.data.audio import read_duration
from speechllama.data.blocks import read_blocks
from speechllama.decode.long import Segment
from speechllama.decode.segmenter import CutConfig, Piece, cut
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.systems import change_search
from speechllama.decode.voice import silero_detector
from speechllama.faults import InputError
from speechllama.serve.form import Form
from speechllama.serve.limits import RequestError
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, name_language
from speechllama.text.tasks import Task, trained_task

Endpoint = Literal["translations", "transcriptions"]


class Spoken(NamedTuple):
    """A piece of a recording, and how it is asked for.

    Attributes:
        piece: The piece.
        language: Code of its language, or "".
        target: Code of the language to write, or "" for the model's own.
        task: What to write, if the model has several tasks.
    """

    piece: Piece
    language: str
    target: str = ""
    task: str = ""


class Recording:
    """An upload, read piece by piece as the batcher takes them; it outlives the form that it came in.

    Args:
        form: The form.
        config: How it is cut.
        task: What to write, if the model has several tasks.

    Attributes:
        duration: Seconds.

    Raises:
        ValueError: It is no audio, or truncated.
    """

    def __init__(self, form: Form, config: CutConfig, task: str = "") -> None:
        self._name, self._config, self._asked = form.name, config, (form.language, form.target, task)
        file = cast("SpooledTemporaryFile[bytes]", form.file.file)
        file.rollover()  # what is still in memory gets a descriptor
        self._descriptor = os.dup(file.fileno())
        self._path = Path(f"/dev/fd/{self._descriptor}")
        try:
            self.duration = read_duration(self._path)
        except (ValueError, OSError) as error:
            self.close()
            raise self._name_it(error) from error

    def __iter__(self) -> Iterator[Spoken]:
        """Read, cut and give a piece.

        Raises:
            ValueError: The recording is bad from here on.
        """
        try:
            for piece in cut(read_blocks(self._path), self._config):
                yield Spoken(piece, *self._asked)
        except (ValueError, OSError) as error:
            raise self._name_it(error) from error

    def close(self) -> None:
        """Give the file back; without a name, it is gone then."""
        os.close(self._descriptor)

    def _name_it(self, error: Exception) -> InputError:
        """Word an error with the client's name of the file."""
        return InputError(str(error).replace(str(self._path), self._name))


def endpoint_of(task: Task) -> Endpoint:
    """Name where a task is asked for."""
    return "translations" if task.is_translation else "transcriptions"


class ServedModel:
    """A trained system as the server needs it.

    Args:
        translator: The system.
        config: How long recordings are cut.

    Raises:
        ValueError: Its settings do not tell what it was trained for.
    """

    def __init__(self, translator: Speech2Text, config: CutConfig) -> None:
        self.translator, self.config = translator, config
        task = trained_task(translator.settings)
        if task is None:
            raise InputError(f"{translator.folder}: its config.yaml names no task; train it again, or pack it again")
        self._endpoints = {endpoint_of(each): each for each in task.scored}
        prompt = translator.settings.get("prompt_conf") or {}
        self._target = TARGETS[prompt.get("target", DEFAULT_TARGET)]
        self._targets = prompt.get("targets") or [self._target.name]
        self._languages = {*TARGETS, *prompt.get("language_names", {}), *prompt.get("by_language", {})}

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What it was trained for."""
        return tuple(self._endpoints)

    def language_name(self, endpoint: Endpoint, language: str, target: str = "") -> str:
        """Name the language that is written, as `verbose_json` does: "english"; "" where it is not known."""
        if endpoint == "transcriptions":
            return name_language(language).lower()
        return (TARGETS[target] if target else self._target).language.lower()

    def open(self, form: Form, max_recording_seconds: float, endpoint: Endpoint) -> Recording:
        """Open an upload.

        Args:
            form: Its form.
            max_recording_seconds: The longest that is taken.
            endpoint: One of `endpoints`, where it came to.

        Raises:
            ValueError: It is bad audio.
            RequestError: It is too long, a language is unknown or missing, or the model cannot write the target.
        """
        self._check_language(form.language)
        self._check_target(form, endpoint)
        recording = Recording(form, self.config, self._endpoints[endpoint].name if len(self._endpoints) > 1 else "")
        if recording.duration > max_recording_seconds:
            recording.close()
            message = (
                f"{form.name} has {recording.duration:.1f} s, more than {max_recording_seconds:g} s; cut it into parts"
            )
            raise RequestError(413, message, "file", "recording_too_long")
        return recording

    def _check_language(self, language: str) -> None:
        """Refuse an unknown language even where it changes nothing: the prompt of each one is kept in memory."""
        if language and language not in self._languages:
            message = f"unknown language {language!r}, expected one of {', '.join(sorted(self._languages))}"
            raise RequestError(400, message, "language")
        try:
            self.translator.check_language(language)
        except InputError as error:
            raise RequestError(400, str(error), "language") from error

    def _check_target(self, form: Form, endpoint: Endpoint) -> None:
        """Refuse a language that cannot be written."""
        name = "target_language"
        if not form.target:
            return
        if endpoint == "transcriptions":
            raise RequestError(400, f"{name}: a transcript is in the language of the speech; leave it out", name)
        if form.target not in self._targets:
            message = f"{name} {form.target!r}: this model writes {', '.join(self._targets)}"
            raise RequestError(400, message, name)

    def decode(self, pieces: Sequence[Spoken]) -> list[Segment]:
        """Translate a batch of pieces, of one recording or of several."""
        found = self.translator.batch(
            [spoken.piece.waveform for spoken in pieces],
            [spoken.language for spoken in pieces],
            [spoken.target for spoken in pieces],
            [spoken.task for spoken in pieces],
        )
        return [
            Segment(spoken.piece.start, spoken.piece.end, nbest) for spoken, nbest in zip(pieces, found, strict=True)
        ]


def load_model(
    path: str, device: str, search: Mapping[str, Any], config: CutConfig, revision: str | None = None
) -> ServedModel:
    """Load a trained system.

    Args:
        path: Experiment directory, packed zip or repository on the hub.
        device: torch device.
        search: Settings of the search that differ from the model's.
        config: How recordings are cut.
        revision: Branch, tag or commit of the repository.

    Raises:
        ValueError: As of `Speech2Text.from_pretrained`; or what finds speech is not installed.
    """
    if config.segmentation == "vad":
        silero_detector()
    translator = Speech2Text.from_pretrained(path, device, revision=revision)
    translator.config = change_search(translator.config, search)
    return ServedModel(translator, config)
