"""RescoredToText: recordings to text with a system whose n-best hypotheses an LLM chooses from (B2).

recordings -> n-best of the system -> score + weight * log p_LLM(text) / length ** length_norm -> n-best text
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import NBest, Speech2Text, Utterance
from speechllama.decode.text_scorer import TextScorer, combine
from speechllama.faults import InputError
from speechllama.model.audio import AudioInput, Features


@dataclass(frozen=True)
class Rescoring:
    """What chooses.

    Attributes:
        scorer: The LLM.
        weight: Weight of its score, tuned on the dev set.
        length_norm: Exponent of the text's length in tokens that divides its score, tuned, too.
    """

    scorer: TextScorer
    weight: float
    length_norm: float


class RescoredToText(Speech2Text):
    """Translates speech, or transcribes it, with a system and an LLM that chooses among its hypotheses.

    Args:
        base: The system.
        rescoring: What chooses.
        config: Settings of the system's search; all hypotheses of its beam are rescored.
    """

    def __init__(self, base: Speech2Text, rescoring: Rescoring, config: SearchConfig) -> None:
        super().__init__(base.network, base.folder, base.settings, config)
        self.base, self.rescoring = base, rescoring

    def check_search(self, config: SearchConfig) -> None:
        """Refuse minimum Bayes risk: the LLM chooses.

        Raises:
            ValueError: It is asked for.
        """
        if config.mbr != "none":
            raise InputError(
                f"{self.folder}: a rescoring system chooses by the LLM's score, not by minimum Bayes risk; leave out "
                f"mbr {config.mbr}, or take the system that it rescores"
            )

    def check_data(self, data_dir: Path, kind: type[AudioInput]) -> None:
        """As the system does."""
        self.base.check_data(data_dir, kind)

    def check_language(self, language: str, target: str = "") -> None:
        """See `Speech2Text`; the LLM that chooses may name it, too."""
        self.base.check_language(language, target)
        self.rescoring.scorer.item("", language, target=target)

    def translate_heard(self, features: Features, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`."""
        self._widen()
        return self._choose(self.base.translate_heard(features, utterances), utterances)

    def translate(self, audio: AudioInput, utterances: Sequence[Utterance]) -> list[NBest]:
        """See `Speech2Text`; scores are the sums that choose."""
        self._widen()
        return self._choose(self.base.translate(audio, utterances), utterances)

    def _widen(self) -> None:
        """Let the system give all hypotheses of its beam."""
        given = {**asdict(self.config), "nbest": self.config.num_hypotheses}
        known = asdict(self.base.config)  # with a weight of CTC or without
        self.base.config = replace(self.base.config, **{name: given[name] for name in known if name in given})

    def _choose(self, found: Sequence[NBest], utterances: Sequence[Utterance]) -> list[NBest]:
        """Order the hypotheses of each recording by their sums, best first; equal ones keep their order."""
        scorer, rescoring = self.rescoring.scorer, self.rescoring
        pairs = [(each, entry) for each, nbest in zip(utterances, found, strict=True) for entry in nbest]
        items = [scorer.item(entry.text, each.language, each.template, each.target) for each, entry in pairs]
        scores = iter(zip(items, scorer.score(items), strict=True))
        results: list[NBest] = []
        for nbest in found:
            summed = []
            for entry in nbest:
                item, score = next(scores)
                numbers = {"score": entry.score, "llm_score": score, "llm_length": len(item.text) + 1}
                summed.append(entry._replace(score=combine(numbers, rescoring.weight, rescoring.length_norm)))
            results.append(summed)
        return [sorted(nbest, key=lambda entry: -entry.score)[: self.config.nbest] for nbest in results]
