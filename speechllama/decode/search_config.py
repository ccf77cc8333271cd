"""Settings of the search: how texts are found, which of them is chosen, and how long they may be.

options of stage decode, or search.json of a packed model -> SearchConfig
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Literal

from speechllama.faults import InputError

Risk = Literal["none", "chrf", "bleu"]
Weights = Literal["uniform", "posterior"]
OF_SAMPLING = ("temperature", "top_k", "top_p", "sample_seed")  # what only sampling reads


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the search.

    Attributes:
        beam_size: Hypotheses K kept; 1 is greedy search. Sampling has no beam.
        nbest: Hypotheses returned, at most K; of samples at most `num_samples`.
        length_penalty: A finished hypothesis scores log-probability / length ** length_penalty, the length with
            its end of sequence; above 0 favours longer text.
        max_tokens: Most tokens of any utterance, the end of sequence included; None: as many as its duration allows.
            The texts of a task that writes several into one output have it together.
        tokens_per_second: Most tokens of a text per second of audio; speech has 2 to 4 words a second.
        min_tokens: Limit of a text that even the shortest audio gets.
        repetition_penalty: Scores of tokens that a hypothesis has already are divided by it where they are positive,
            and multiplied by it where negative; 1 changes nothing.
        no_repeat_ngram_size: No n-gram of so many tokens comes twice in a hypothesis; 0: any may.
        num_samples: Hypotheses drawn at random in place of a beam; 0: search with the beam.
        temperature: Divides the scores before drawing; below 1, likely tokens become likelier.
        top_k: Only so many of the likeliest tokens are drawn from; 0: all.
        top_p: Only the likeliest tokens that together have this probability are drawn from; 1: all.
        sample_seed: Seed of the draws; with an utterance's name it decides the utterance's samples.
        mbr: Choose the hypothesis with the highest expected utility (minimum Bayes risk) by this score of sacreBLEU;
            "none": the one with the highest score.
        mbr_weights: How much each hypothesis counts in the expectation: all the same, or as probable as it is.
    """

    beam_size: int = 4
    nbest: int = 1
    length_penalty: float = 1.0
    max_tokens: int | None = None
    tokens_per_second: float = 15.0
    min_tokens: int = 10
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    num_samples: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    sample_seed: int = 1
    mbr: Risk = "none"
    mbr_weights: Weights = "uniform"

    def __post_init__(self) -> None:
        if self.beam_size < 1 or not 1 <= self.nbest <= max(self.beam_size, self.num_samples):
            samples = f", or num_samples {self.num_samples}" if self.num_samples else ""
            raise InputError(f"nbest {self.nbest} must lie between 1 and beam_size {self.beam_size}{samples}")
        bound = 1 if self.max_tokens is None else self.max_tokens
        if bound < 1 or self.min_tokens < 1 or self.tokens_per_second <= 0:
            raise InputError("max_tokens, min_tokens and tokens_per_second must be positive")
        if not 0.0 < self.repetition_penalty < math.inf or self.no_repeat_ngram_size < 0:
            raise InputError(
                f"repetition_penalty {self.repetition_penalty} must be positive (1: none), and no_repeat_ngram_size "
                f"{self.no_repeat_ngram_size} must not be negative (0: none)"
            )
        self._check_sampling()
        self._check_risk()

    def _check_sampling(self) -> None:
        """Refuse what cannot be drawn, and settings of draws where nothing is drawn."""
        if self.num_samples < 0 or self.top_k < 0:
            raise InputError(f"num_samples {self.num_samples} and top_k {self.top_k} must not be negative")
        if not 0.0 < self.temperature < math.inf or not 0.0 < self.top_p <= 1.0:
            raise InputError(
                f"temperature {self.temperature} must be positive, and top_p {self.top_p} must lie above 0, 1 included"
            )
        given = [name for name in OF_SAMPLING if getattr(self, name) != default_of(name)]
        if given and not self.num_samples:
            raise InputError(
                f"{given[0]} {getattr(self, given[0])} is for sampling, and must come with num_samples: a beam draws "
                "nothing"
            )

    def _check_risk(self) -> None:
        """Refuse an unknown utility, and a choice where there is none."""
        if self.mbr not in ("none", "chrf", "bleu") or self.mbr_weights not in ("uniform", "posterior"):
            raise InputError(
                f"mbr {self.mbr!r} must be none, chrf or bleu, and mbr_weights {self.mbr_weights!r} must be uniform or "
                "posterior"
            )
        if self.mbr == "none" and self.mbr_weights != default_of("mbr_weights"):
            raise InputError(f"mbr_weights {self.mbr_weights} must come with mbr chrf or mbr bleu")
        if self.mbr != "none" and self.num_hypotheses < 2:
            raise InputError(
                f"mbr {self.mbr} chooses among several hypotheses: beam_size, or num_samples, must be 2 or more"
            )

    @property
    def num_hypotheses(self) -> int:
        """Hypotheses that are worked on at once: samples, or those of the beam."""
        return self.num_samples or self.beam_size

    @property
    def num_found(self) -> int:
        """Hypotheses that the search returns; minimum Bayes risk reads all of them, whatever `nbest` is."""
        return self.num_hypotheses if self.mbr != "none" else self.nbest

    def limit(self, audio_seconds: float, num_texts: int = 1) -> int:
        """Return the most tokens of an utterance, which depend on its duration, not on its compressed length.

        Args:
            audio_seconds: Its duration.
            num_texts: Texts in one output, each of which may be as long as one by itself.
        """
        allowed = num_texts * max(self.min_tokens, int(audio_seconds * self.tokens_per_second))
        return allowed if self.max_tokens is None else min(self.max_tokens, allowed)

    def explain_cut(self, num_tokens: int, audio_seconds: float, num_texts: int = 1) -> str:
        """Name what cut the output of an utterance at so many tokens; the other arguments are those of `limit`."""
        limit = self.limit(audio_seconds, num_texts)
        if num_tokens < limit:
            return f"{num_tokens} tokens, all that the LLM's context leaves"
        if self.max_tokens == limit < replace(self, max_tokens=None).limit(audio_seconds, num_texts):
            return f"max_tokens {limit}"
        each = f" for each of {num_texts} texts" if num_texts > 1 else ""
        return f"{limit} tokens, tokens_per_second {self.tokens_per_second:g}{each}"


def default_of(name: str) -> Any:
    """The default of a setting; None of one that only the joint search has, which means as in training."""
    found = [entry.default for entry in fields(SearchConfig) if entry.name == name]
    return found[0] if found and found[0] is not MISSING else None
