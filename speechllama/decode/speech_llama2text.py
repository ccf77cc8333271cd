"""SpeechLlamaToText: recordings to text with a speech LLM (systems E0 to E6, L, D, U).

features (T, F), or compressed features, of some utterances -> network -> n-best text
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from speechllama.constants import BLANK
from speechllama.data.ark import check_maker
from speechllama.decode.beam import IMPOSSIBLE
from speechllama.decode.experiment import Experiment
from speechllama.decode.output_parts import take_part
from speechllama.decode.search import Hypothesis, LLMSearch
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Speech2Text, Translation, Utterance, keep_heard
from speechllama.faults import InputError
from speechllama.llm.context import tokens_left
from speechllama.llm.prefix_mask import Prefix
from speechllama.model.audio import AudioInput, Compressed, Features
from speechllama.model.build import describe_cache
from speechllama.model.ctc_encoder import best_units
from speechllama.model.layers import length_mask
from speechllama.model.speech_llama import Batch
from speechllama.text.padding import pad_ids
from speechllama.text.prompt import TARGET
from speechllama.text.targets import TARGETS, Target
from speechllama.text.tasks import TASKS, num_texts, trained_task


class SpeechLlamaToText(Speech2Text):
    """Translates speech, or transcribes it, with a speech LLM.

    Args:
        experiment: A loaded experiment.
        config: Settings of the search.
    """

    def __init__(self, experiment: Experiment, config: SearchConfig | None = None) -> None:
        self.experiment = experiment
        super().__init__(experiment.network, experiment.folder, experiment.settings, config or SearchConfig())

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.experiment.device

    def check_search(self, config: SearchConfig) -> None:
        """Refuse BLEU where its tokenizer for the model's own target language is not installed.

        Raises:
            ValueError: It is not; the message says what to install.
        """
        if config.mbr == "bleu" and TASKS[self.settings["task_name"]].is_translation:
            from speechllama.decode.risk import bleu_utility

            bleu_utility(self.written(Utterance(0.0)))

    def written(self, utterance: Utterance) -> Target:
        """See `Speech2Text`: a translation's target; of a transcript the language of the speech, if it is known."""
        if TASKS[utterance.task or self.settings["task_name"]].is_translation:
            return TARGETS[utterance.target] if utterance.target else self.experiment.prompt.target
        return TARGETS[utterance.language] if utterance.language in TARGETS else super().written(utterance)

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """Refuse a cache that another CTC encoder or compressor made; see `check_maker`."""
        if kind is Compressed:
            network = self.network
            expected = describe_cache(network.encoder, network.compressor, network.config.compressor)
            check_maker(data_dir, "compressed", expected)

    def check_language(self, language: str, target: str = "") -> None:
        """See `Speech2Text`."""
        prompt = self.experiment.prompt
        prompt.render(language, target=target)
        if target not in ("", prompt.target.name) and TARGET not in prompt.choose(language):
            raise InputError(
                f"{self.folder}: its prompt {prompt.choose(language)!r} does not name the language to write, so it "
                f"writes {prompt.target.name} only; found {target!r}"
            )

    def translate_heard(self, features: Features, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`. Where the compressor's output can be cached, the encoder reads the features only once."""
        network, features = self.network, features.to(self.device)
        if not network.config.freeze_encoder:  # a CTC head that trains with the rest has learnt nothing
            return self.translate(features, utterances)
        encoded = network.encoder(*features)
        if not encoded.logits.shape[2]:
            return self.translate(features, utterances)
        spoken = (best_units(encoded.logits) != BLANK) & length_mask(encoded.lengths, encoded.logits.shape[1])
        heard: list[bool] = spoken.any(1).tolist()
        if not any(heard):
            return [[] for _ in heard]
        is_cached = network.config.compressor.record.is_cached
        audio = network.compressor(encoded) if is_cached else features
        return keep_heard(self.translate(audio, utterances), heard)

    def translate(self, audio: AudioInput, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`; audio that does not fit into the LLM's context gets one empty text, and a warning."""
        network, device = self.network, self.device
        asking = [self.experiment.prompt_of(each.task) for each in utterances]
        ids = [
            prompt.render(each.language, each.template, each.target)
            for prompt, each in zip(asking, utterances, strict=True)
        ]
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
            hypotheses = self._search(network.embed_prefix(batch), utterances)
        decode = self.experiment.prompt.decode  # the same of all prompts
        found = [
            [Translation(self._part(decode(hypothesis.tokens), each.task), *hypothesis) for hypothesis in nbest]
            for each, nbest in zip(utterances, hypotheses, strict=True)
        ]
        return self.choose(found, utterances)

    def _part(self, text: str, part: str) -> str:
        """Take the part that is asked for out of an output that has several."""
        task = trained_task(self.settings)
        return take_part(task, text, part) if part and task and task.separator else text

    def _search(self, prefix: Prefix, utterances: Sequence[Utterance]) -> list[list[Hypothesis]]:
        """N-best hypotheses of each utterance; an empty one where the LLM has too few positions for the audio."""
        network = self.network
        fits = tokens_left(network.llm.context, prefix.lengths) > 0
        rows = fits.nonzero()[:, 0]
        results = [[Hypothesis([], IMPOSSIBLE)] for _ in utterances]
        if len(rows) < len(results):
            left_out = [f"{utterances[row].seconds:.1f} s" for row in (~fits).nonzero()[:, 0].tolist()]
            logging.warning(
                "%d utterances get no text: prompt and audio take more than the LLM's %s positions (%s); cut them into "
                "segments, or take an LLM with a longer context",
                *(len(left_out), network.llm.context, ", ".join(left_out)),
            )
            prefix = Prefix(prefix.embeddings[rows], prefix.lengths[rows])
        if len(rows):
            fitting = [utterances[row] for row in rows.tolist()]
            allowed = [self.config.limit(each.seconds, num_texts(self.settings)) for each in fitting]
            limits = torch.tensor(allowed, device=self.device)
            search = LLMSearch(network.llm, network.config.prefix_mask, self.config)
            found = search(prefix, limits, [each.name for each in fitting])
            for row, hypotheses in zip(rows.tolist(), found, strict=True):
                results[row] = hypotheses
        return results
