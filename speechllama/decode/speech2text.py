"""Speech2Text: three lines from a recording to its translation, with any system of the table.

waveform (S,) -> features (T, F) -> network -> n-best text

>>> from speechllama import Speech2Text
>>> translate = Speech2Text.from_pretrained("exp/st_e6")
>>> translate(waveform)[0].text
"""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio, resample, to_unit_scale
from speechllama.decode.search_config import SearchConfig
from speechllama.faults import InputError, naming_file
from speechllama.frontend.feature_format import recorded_format
from speechllama.frontend.front_ends import FeatureExtractor, PretrainedExtractor
from speechllama.model.audio import AudioInput, Features
from speechllama.split_on_oom import split_on_oom
from speechllama.text.tasks import trained_task

if TYPE_CHECKING:
    from speechllama.decode.long import LongConfig, Segment
    from speechllama.text.targets import Target

SILENCE_PEAK = 1e-4  # of full scale, -80 dB: a few steps of 16-bit samples, what a muted input gives
NBest = list["Translation"]  # of one recording, best first


class Translation(NamedTuple):
    """One hypothesis.

    Attributes:
        text: What it says.
        tokens: Its token ids, of the LLM or, for B1, of its units.
        score: Log-probability with length penalty, nats.
        is_cut: Whether the limit of tokens ended it.
        utility: Expected utility, 0 to 100, where minimum Bayes risk has chosen; else None.
    """

    text: str
    tokens: list[int]
    score: float
    is_cut: bool = False
    utility: float | None = None


class Utterance(NamedTuple):
    """What decoding must know of a recording besides its sound.

    Attributes:
        seconds: Its duration, which limits the length of its text.
        language: Code of the source language; "" if the prompt does not name it.
        template: A prompt template of its own; "" for the model's.
        target: Code of the language to write; "" for the model's own.
        name: What decides its samples, together with the seed; only sampling reads it.
        task: What to write, for a model that was trained for several tasks; "" for all that it writes by itself.
    """

    seconds: float
    language: str = ""
    template: str = ""
    target: str = ""
    name: str = ""
    task: str = ""


class Speech2Text(abc.ABC):
    """Translates speech, or transcribes it, as the system was trained; the systems are its subclasses.

    Args:
        network: The network, in evaluation mode, on its device.
        folder: Directory that holds config.yaml and model.pth.
        settings: The content of config.yaml.
        config: Settings of the search.

    Attributes:
        writes: The task that is meant where none is asked for; "": all that it writes by itself.
    """

    def __init__(
        self, network: torch.nn.Module, folder: Path, settings: Mapping[str, Any], config: SearchConfig
    ) -> None:
        self.network: Any = network
        self.writes = ""
        self.folder, self.settings = folder, settings
        self.config = config

    @property
    def config(self) -> SearchConfig:
        """Settings of the search."""
        return self._config

    @config.setter
    def config(self, config: SearchConfig) -> None:
        self.check_search(config)
        self._config = config

    def check_search(self, config: SearchConfig) -> None:  # noqa: B027  # most systems can do all
        """Refuse a search that the system cannot do.

        Raises:
            ValueError: It cannot.
        """

    @staticmethod
    def from_pretrained(
        path: str | Path, device: str = "cpu", config: SearchConfig | None = None, revision: str | None = None
    ) -> Speech2Text:
        """Load a trained system of any kind.

        Args:
            path: Experiment directory, a zip that stage `pack` wrote, or a repository on the hub, "organisation/name".
            device: torch device.
            config: Settings of the search; None: those that a packed model keeps, or the defaults.
            revision: Branch, tag or commit of the repository on the hub.

        Raises:
            FileNotFoundError: It is not a finished experiment, or what it is built on is missing.
            ValueError: Weights do not fit their config or base, or there is no such device.
        """
        from speechllama.decode.systems import load_system

        return load_system(path, device, config, revision)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @functools.cached_property
    def front_end(self) -> FeatureExtractor:
        """What reads a waveform; built for the first one, since data directories have what the network reads."""
        reader = recorded_format(self.settings, str(self.folder)).build_reader()
        return reader.to(str(self.device)) if isinstance(reader, PretrainedExtractor) else reader

    def __call__(
        self,
        speech: np.ndarray | str | Path,
        rate: int = SAMPLE_RATE,
        language: str = "",
        target: str = "",
        task: str = "",
    ) -> NBest:
        """Translate one recording, whole; see `long` for one of more than some 30 s.

        Args:
            speech: Waveform (S,), float within +-1 or integers of full scale, or an audio file.
            rate: Sampling rate of the waveform in Hz; ignored for a file, which has its own.
            language: Code of the source language, needed only if the prompt names it.
            target: Code of the language to write, for a model that writes several; "" for its own.
            task: What to write, for a model that was trained for several tasks; see `Utterance`.

        Returns:
            The n-best hypotheses, best first; none if nothing is heard.

        Raises:
            ValueError: The recording is empty, shorter than one frame, or not a waveform; or the model was not trained
                for the task.
        """
        waveform = as_waveform(speech, rate)
        with naming_file(speech):
            return self.batch([waveform], [language], [target], [task])[0]

    def batch(
        self,
        waveforms: Sequence[np.ndarray],
        languages: Sequence[str] = (),
        targets: Sequence[str] = (),
        tasks: Sequence[str] = (),
    ) -> list[NBest]:
        """Translate some recordings at once; if memory runs out, in halves.

        Args:
            waveforms: Samples (S,) of each, 16 kHz, within +-1.
            languages: Code of the source language of each; empty if the prompt does not name it.
            targets: Code of the language to write of each, for a model that writes several; empty for its own.
            tasks: What to write of each, for a model that was trained for several tasks; see `Utterance`.

        Returns:
            N-best hypotheses of each recording, best first; none for one in which nothing is heard: it is silent, or
            every frame is blank to CTC, in a system that has it.

        Raises:
            ValueError: A recording is shorter than one frame, or does not fit into memory by itself; or the model was
                not trained for a task.
        """
        none = [""] * len(waveforms)
        tasks = [task or self.writes for task in tasks or none]
        for task in {*tasks}:
            self.check_task(task)
        utterances = [
            Utterance(len(wave) / SAMPLE_RATE, language, target=target, name=self._name(wave), task=task)
            for wave, language, target, task in zip(waveforms, languages or none, targets or none, tasks, strict=True)
        ]
        results: list[NBest] = [[] for _ in waveforms]
        audible = [row for row, wave in enumerate(waveforms) if len(wave) and np.abs(wave).max() > SILENCE_PEAK]

        def work(rows: Sequence[int]) -> list[NBest]:
            features = Features.pad(self.extract([waveforms[row] for row in rows]))
            with torch.inference_mode():
                return self.translate_heard(features, [utterances[row] for row in rows])

        def too_large(row: int) -> str:
            return (
                f"{utterances[row].seconds:.1f} s of audio do not fit into memory by themselves; take a "
                "smaller beam or shorter segments"
            )

        if audible:
            for row, nbest in split_on_oom(work, audible, too_large):
                results[row] = nbest
        return results

    def _name(self, waveform: np.ndarray) -> str:
        """Name a recording by its samples, so that it always gets the same draws; "" where nothing is drawn."""
        return hashlib.sha256(np.ascontiguousarray(waveform).tobytes()).hexdigest() if self.config.num_samples else ""

    def choose(self, found: Sequence[NBest], utterances: Sequence[Utterance]) -> list[NBest]:
        """Order the hypotheses of each recording as the settings say: by score, as they are, or by risk.

        Raises:
            ValueError: BLEU must know in which language an utterance is written, and does not.
        """
        if self.config.mbr == "none":
            return [*found]
        from speechllama.decode.risk import choose_by_risk

        pairs = zip(found, utterances, strict=True)
        return [choose_by_risk(nbest, self.config, functools.partial(self.written, each)) for nbest, each in pairs]

    def written(self, utterance: Utterance) -> Target:
        """The language in which the text of an utterance is written.

        Raises:
            ValueError: It is not known.
        """
        raise InputError(
            f"{self.folder}: the language in which it writes is not known, so BLEU has no tokenizer; take mbr chrf"
        )

    def long(
        self,
        speech: np.ndarray | str | Path | Iterable[np.ndarray],
        config: LongConfig | None = None,
        language: str = "",
        rate: int = SAMPLE_RATE,
        target: str = "",
    ) -> Iterator[Segment]:
        """Translate a recording of any length, segment by segment.

        Args:
            speech: An audio file, read block by block; a waveform (S,); or blocks of one at 16 kHz, as they come.
            config: How it is cut into segments.
            language: Code of the source language, needed only if the prompt names it.
            rate: Sampling rate of a waveform in Hz.
            target: Code of the language to write, for a model that writes several; "" for its own.

        Yields:
            Its segments in order, with their times; one without text if nothing is heard.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: As of `read_blocks` and `batch`, with the name of a file.
        """
        from speechllama.decode.long import LongConfig, name_faults, open_blocks, translate_long

        segments = translate_long(self, open_blocks(speech, rate), config or LongConfig(), language, target)
        return name_faults(segments, speech)

    def check_task(self, task: str) -> None:
        """Refuse a task that the system was not trained for; "" asks for none.

        Raises:
            ValueError: It was not.
        """
        trained = trained_task(self.settings)
        known = [each.name for each in trained.scored] if trained else []
        if task and task not in known:
            raise InputError(
                f"{self.folder}: not trained for the task {task!r}, expected "
                f"{' or '.join(known) or 'none, since its config.yaml names no task'}"
            )

    def extract(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute what the network reads (T, F) of each waveform (S,)."""
        if isinstance(self.front_end, PretrainedExtractor):
            return self.front_end.many(waveforms)
        return [self.front_end(waveform) for waveform in waveforms]

    @abc.abstractmethod
    def translate(self, audio: AudioInput, utterances: Sequence[Utterance]) -> list[NBest]:
        """Translate a batch.

        Args:
            audio: Features, or compressed features from the cache.
            utterances: What else is known of each.

        Returns:
            N-best hypotheses of each utterance, best first.
        """

    @abc.abstractmethod
    def translate_heard(self, features: Features, utterances: Sequence[Utterance]) -> list[NBest]:
        """Translate a batch as `translate`, with no hypothesis where every frame is blank to CTC, if there is one."""

    @abc.abstractmethod
    def check_language(self, language: str, target: str = "") -> None:
        """Refuse a source language, or one to write, that the prompt must name and cannot.

        Args:
            language: Code of the source language; a system without a prompt takes any.
            target: Code of the language to write; "" for the system's own.

        Raises:
            ValueError: A code is unknown, or the source language is missing.
        """

    @abc.abstractmethod
    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse audio of another kind than that on which the system was trained."""


def as_waveform(speech: np.ndarray | str | Path, rate: int) -> np.ndarray:
    """Bring a recording, a file or samples (S,) of any rate, to 16 kHz, mono, within +-1.

    Raises:
        ValueError: It holds no sample, or is not a waveform.
    """
    if isinstance(speech, (str, Path)):
        return read_audio(speech)
    if not np.size(speech):
        raise InputError("the waveform holds no sample")
    return resample(to_unit_scale(np.asarray(speech)), rate)


def keep_heard(found: Sequence[NBest], heard: Sequence[bool]) -> list[NBest]:
    """Drop the hypotheses of recordings in which nothing is heard."""
    return [nbest if is_heard else [] for nbest, is_heard in zip(found, heard, strict=True)]
