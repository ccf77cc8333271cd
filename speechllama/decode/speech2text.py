"""Speech2Text: three lines from a recording to its translation.

waveform (S,) -> features (T, F) -> network -> n-best text

>>> from speechllama import Speech2Text
>>> translate = Speech2Text.from_pretrained("exp/st_e6")
>>> translate(waveform)[0].text
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from speechllama.constants import SAMPLE_RATE
from speechllama.data.ark import check_maker
from speechllama.data.audio import read_audio, resample, to_unit_scale
from speechllama.decode.beam import IMPOSSIBLE
from speechllama.decode.experiment import Experiment, load_experiment
from speechllama.decode.search import Hypothesis, SearchConfig, search
from speechllama.frontend.front_ends import FeatureExtractor, recorded_format
from speechllama.llm.context import tokens_left
from speechllama.llm.prefix_mask import Prefix
from speechllama.model.audio import AudioInput, Compressed, Features
from speechllama.model.build import describe_cache
from speechllama.model.speech_llama import Batch
from speechllama.text.padding import pad_ids


class Translation(NamedTuple):
    """One hypothesis: its text, token ids of the LLM, and score (log-probability with length penalty, nats)."""

    text: str
    tokens: list[int]
    score: float


class Translator(Protocol):
    """What decoding needs of a system: `Speech2Text`, or `Seq2SeqToText` for B1."""

    @property
    def config(self) -> SearchConfig:
        """Settings of its search."""

    @property
    def folder(self) -> Path:
        """Where its model.pth is."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def network(self) -> torch.nn.Module:
        """All of its parameters."""

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse audio of another kind than that on which the system was trained."""

    def translate(
        self,
        audio: AudioInput,
        seconds: Sequence[float],
        languages: Sequence[str],
        templates: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """N-best hypotheses of a batch; see `Speech2Text.translate`."""


class Speech2Text:
    """Translates speech, or transcribes it, as the system was trained.

    Args:
        experiment: A loaded experiment.
        config: Settings of the search.
    """

    def __init__(self, experiment: Experiment, config: SearchConfig | None = None) -> None:
        self.experiment = experiment
        self.config = config or SearchConfig()
        self.network, self.device, self.folder = experiment.network, experiment.device, experiment.folder

    @functools.cached_property
    def front_end(self) -> FeatureExtractor:
        """What reads a waveform; built for the first one, since data directories have what the network reads."""
        return recorded_format(self.experiment.settings, str(self.folder)).build_reader()

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu", config: SearchConfig | None = None) -> Speech2Text:
        """Build from an experiment directory or a packed zip; errors as `load_experiment`."""
        return cls(load_experiment(path, device), config)

    def __call__(
        self, speech: np.ndarray | str | Path, rate: int = SAMPLE_RATE, language: str = "", target: str = ""
    ) -> list[Translation]:
        """Translate one recording.

        Args:
            speech: Waveform (S,), float within +-1 or integers of full scale, or an audio file.
            rate: Sampling rate of the waveform in Hz; ignored for a file, which has its own.
            language: Code of the source language, needed only if the prompt names it.
            target: Code of the language to write, for a model that writes several; "" for its own.

        Returns:
            The n-best hypotheses, best first.

        Raises:
            ValueError: The recording is empty, shorter than one frame, or not a waveform.
        """
        if isinstance(speech, (str, Path)):
            waveform = read_audio(speech)
        else:
            waveform = resample(to_unit_scale(np.asarray(speech)), rate)
        features = Features.pad([self.front_end(waveform)])
        return self.translate(features, [len(waveform) / SAMPLE_RATE], [language], targets=[target])[0]

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse a cache that another CTC encoder or compressor made; see `check_maker`."""
        if kind is Compressed:
            network = self.network
            expected = describe_cache(network.encoder, network.compressor, network.config.compressor)
            check_maker(data_dir, "compressed", expected)

    def translate(
        self,
        audio: AudioInput,
        seconds: Sequence[float],
        languages: Sequence[str],
        templates: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """Translate a batch.

        Args:
            audio: Features, or compressed features from the cache.
            seconds: Duration of each recording, which limits the length of its text.
            languages: Source language codes; "" if the prompt needs none.
            templates: Prompt templates of single utterances; "" for the model's own.
            targets: Codes of the languages to write; "" for that of the model.

        Returns:
            N-best hypotheses of each utterance, best first. Audio that does not fit into the LLM's context gets one
            empty text, and a warning.
        """
        network, prompt, device = self.network, self.experiment.prompt, self.device
        none = [""] * len(languages)
        ids = [prompt.render(*each) for each in zip(languages, templates or none, targets or none, strict=True)]
        prompts, prompt_lengths = pad_ids([entry.prompt for entry in ids])
        suffixes, suffix_lengths = pad_ids([entry.suffix for entry in ids])
        batch = Batch(
            audio.to(device),
            prompts.to(device),
            prompt_lengths.to(device),
            suffixes.to(device),
            suffix_lengths.to(device),
        )
        with torch.inference_mode():
            hypotheses = self._search(network.embed_prefix(batch), seconds)
        return [
            [Translation(prompt.decode(hypothesis.tokens), *hypothesis) for hypothesis in nbest] for nbest in hypotheses
        ]

    def _search(self, prefix: Prefix, seconds: Sequence[float]) -> list[list[Hypothesis]]:
        """N-best hypotheses of each utterance; an empty one where the LLM has too few positions for the audio."""
        network = self.network
        fits = tokens_left(network.llm.context, prefix.lengths) > 0
        rows = fits.nonzero()[:, 0]
        results = [[Hypothesis([], IMPOSSIBLE)] for _ in seconds]
        if len(rows) < len(results):
            left_out = [f"{seconds[row]:.1f} s" for row in (~fits).nonzero()[:, 0].tolist()]
            logging.warning(
                "%d utterances get no text: prompt and audio take more than the LLM's %s positions (%s); cut them into "
                "segments, or take an LLM with a longer context",
                *(len(left_out), network.llm.context, ", ".join(left_out)),
            )
            prefix = Prefix(prefix.embeddings[rows], prefix.lengths[rows])
        if len(rows):
            limits = torch.tensor([self.config.limit(seconds[row]) for row in rows.tolist()], device=self.device)
            found = search(network.llm, prefix, limits, network.config.prefix_mask, self.config)
            for row, hypotheses in zip(rows.tolist(), found, strict=True):
                results[row] = hypotheses
        return results
