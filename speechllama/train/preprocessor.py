"""From an utterance's tables to the token ids that the network reads: prompt, suffix, text, and its audio as it is.

{text, lang, target, speech or compressed or source} -> {prompt, suffix, text, speech or compressed or source}
{..., src_text} -> {..., transcript}, where the training distils
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from speechllama.faults import InputError
from speechllama.text.prompt import Prompt
from speechllama.text.tasks import TASKS
from speechllama.train.distillation import TRANSCRIPT, TRANSCRIPT_TABLE
from speechllama.train.task_mixture import TaskMixture
from speechllama.train.text_pairs import SOURCE


class SpeechLlamaPreprocessor:
    """Text and languages to token ids.

    Args:
        prompts: Render prompts with the LLM's tokenizer, by task.
        mixture: Chooses the task of each utterance.
        reads_transcripts: Whether the teacher of a distillation reads the transcript of each utterance.
    """

    def __init__(self, prompts: Mapping[str, Prompt], mixture: TaskMixture, reads_transcripts: bool = False) -> None:
        self.prompts, self.mixture, self.reads_transcripts = prompts, mixture, reads_transcripts

    def start_epoch(self, epoch: int) -> None:
        """Choose tasks as of this epoch from now on."""
        self.mixture.epoch = epoch

    def __call__(self, uid: str, data: dict[str, Any]) -> dict[str, np.ndarray]:
        """Turn one utterance's data into arrays.

        Raises:
            ValueError: The text gives no tokens, or the prompt does not fit; the utterance is named.
        """
        task = TASKS[self.mixture.choose(uid)]
        prompt = self.prompts[task.name]
        try:
            ids = prompt.render(data.get("lang", ""), data.get("prompt", ""), data.get("target", ""))
        except ValueError as error:
            raise InputError(f"utterance {uid}: {error}") from error
        written = task.join({**data, self.mixture.task.reference: data["text"]})
        text = prompt.encode(written)
        if not text:
            raise InputError(f"utterance {uid}: the text {written!r} gives no tokens; stage `train` leaves such out")
        arrays: dict[str, np.ndarray] = {
            name: np.asarray(value, np.int64)
            for name, value in (("prompt", ids.prompt), ("suffix", ids.suffix), ("text", text))
        }
        if SOURCE in data:
            arrays[SOURCE] = np.asarray(prompt.encode(data[SOURCE]), np.int64)
        elif self.reads_transcripts:
            words = prompt.encode(data[TRANSCRIPT_TABLE])
            if not words:
                raise InputError(f"utterance {uid}: its transcript has no tokens; stage `train` leaves such out")
            arrays[TRANSCRIPT] = np.asarray(words, np.int64)
        if "speech" in data:
            arrays["speech"] = np.asarray(data["speech"], np.float32)
        if "compressed" in data:
            # ESPnet's reader makes float32 of all it reads; unit numbers, a vector (U,), become whole again here.
            is_units = data["compressed"].ndim == 1
            arrays["compressed"] = np.asarray(data["compressed"], np.int64 if is_units else np.float32)
        return arrays
