"""Scores of decoded text, paired on utterance ids.

    {utterance: hypothesis} + {utterance: reference} -> Pairs -> BLEU, chrF | WER, CER, each with signature

Text is compared as it is: case, punctuation and Unicode form are kept, so ß is not ss and ı is not i.
BLEU and chrF are sacrebleu's, cased and detokenised, 0 to 100. WER and CER are jiwer's, in percent (above 100
with many insertions). For WER and CER every run of Unicode white space counts as one space and none
stays at the ends; words are what is between the spaces, and a space inside a text is a character of its
CER. Chinese and Japanese are written without spaces, so there a whole sentence is one word: read the CER.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import jiwer
from sacrebleu.metrics import BLEU, CHRF

from speechllama.faults import InputError, first_ten
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, Target

NUM_BOOTSTRAP = 1000  # resamples of the 95 % interval, sacrebleu's own default


@dataclass(frozen=True)
class Pairs:
    """Hypotheses next to their references, sorted by the bytes of the utterance id.

    The order is fixed because the bootstrap draws by position: the order of lines must not move a score.
    """

    utterances: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def num_empty(self) -> int:
        """Count the hypotheses without any text."""
        return sum(not hypothesis.strip() for hypothesis in self.hypotheses)


@dataclass(frozen=True)
class TranslationScore:
    """BLEU with its 95 % bootstrap interval and chrF, 0 to 100, of a set of utterances."""

    bleu: float
    bleu_low: float
    bleu_high: float
    chrf: float
    signature: str
    chrf_signature: str
    num_utterances: int
    num_empty: int

    def __str__(self) -> str:
        return (
            f"BLEU {self.bleu:.2f} [{self.bleu_low:.2f}, {self.bleu_high:.2f}] ({self.signature}), "
            f"chrF {self.chrf:.2f} ({self.chrf_signature}), "
            f"{self.num_utterances} utterances, {self.num_empty} empty"
        )


@dataclass(frozen=True)
class RecognitionScore:
    """Word and character error rates in percent, with the counts they are the quotients of."""

    wer: float
    cer: float
    num_word_errors: int
    num_words: int
    num_character_errors: int
    num_characters: int
    signature: str
    cer_signature: str
    num_utterances: int
    num_empty: int

    def __str__(self) -> str:
        return (
            f"WER {self.wer:.2f} % ({self.signature}), CER {self.cer:.2f} % ({self.cer_signature}), "
            f"{self.num_utterances} utterances, {self.num_empty} empty"
        )


def pair(hypotheses: Mapping[str, str], references: Mapping[str, str], name: str = "hypotheses") -> Pairs:
    """Put each hypothesis next to the reference of the same utterance.

    Args:
        hypotheses: Text by utterance id; an empty text is a hypothesis and is counted.
        references: Text by utterance id.
        name: Where the hypotheses are from, for messages.

    Returns:
        The pairs, sorted by the bytes of the utterance id.

    Raises:
        ValueError: An utterance has no hypothesis or no reference, a reference is empty, or there is no
            utterance; one message with all faults, each with its count and the first ten.
    """
    missing = sorted(references.keys() - hypotheses.keys())
    extra = sorted(hypotheses.keys() - references.keys())
    empty = sorted(utterance for utterance, text in references.items() if not text.strip())
    faults = []
    if missing:
        faults.append(
            f"{len(missing)} of {len(references)} utterances have no hypothesis; "
            f"decode them (the same command resumes):{first_ten(missing)}"
        )
    if extra:
        faults.append(
            f"{len(extra)} of {len(hypotheses)} hypotheses have no reference; "
            f"score against the data they were decoded from:{first_ten(extra)}"
        )
    if empty:
        faults.append(
            f"{len(empty)} of {len(references)} references are empty; "
            f"remove these utterances from the data:{first_ten(empty)}"
        )
    if not references:
        faults.append("there is no reference; expected at least one utterance")
    if faults:
        raise InputError(f"{name}: " + "\n".join(faults))
    utterances = tuple(sorted(references, key=lambda utterance: utterance.encode("utf-8")))
    return Pairs(
        utterances,
        tuple(hypotheses[utterance] for utterance in utterances),
        tuple(references[utterance] for utterance in utterances),
    )


def split_by_language(pairs: Pairs, languages: Mapping[str, str]) -> dict[str, Pairs]:
    """Sort pairs into one set for each language.

    Args:
        pairs: The pairs of all languages.
        languages: Language by utterance id (utt2lang); other utterances may be there too.

    Returns:
        Pairs by language, sorted by language, each in the order they came.

    Raises:
        ValueError: An utterance has no language.
    """
    unknown = [utterance for utterance in pairs.utterances if not languages.get(utterance)]
    if unknown:
        raise InputError(
            f"utt2lang: {len(unknown)} of {len(pairs.utterances)} utterances have no language; "
            f"validate the data directory:{first_ten(unknown)}"
        )
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for row in zip(pairs.utterances, pairs.hypotheses, pairs.references, strict=True):
        rows.setdefault(languages[row[0]], []).append(row)
    return {
        language: Pairs(
            tuple(row[0] for row in rows[language]),
            tuple(row[1] for row in rows[language]),
            tuple(row[2] for row in rows[language]),
        )
        for language in sorted(rows)
    }


def score_translation(
    pairs: Pairs, target: Target = TARGETS[DEFAULT_TARGET], num_bootstrap: int = NUM_BOOTSTRAP
) -> TranslationScore:
    """Score translations with sacrebleu: corpus BLEU (cased) and chrF.

    Args:
        pairs: At least one pair.
        target: The language they are in; BLEU cuts words with its tokenizer.
        num_bootstrap: Resamples of the interval; with 1 or less the interval is [bleu, bleu] and the
            signature names none.

    Returns:
        The score. The seed of the bootstrap is sacrebleu's (SACREBLEU_SEED, 12345) and part of the signature.
    """
    hypotheses, references = list(pairs.hypotheses), [list(pairs.references)]
    bleu_metric, chrf_metric = BLEU(tokenize=target.bleu_tokenizer), CHRF()
    bleu = bleu_metric.corpus_score(hypotheses, references, n_bootstrap=max(num_bootstrap, 1))
    chrf = chrf_metric.corpus_score(hypotheses, references)
    middle, half = (bleu._mean, bleu._ci) if num_bootstrap > 1 else (bleu.score, 0.0)
    return TranslationScore(
        bleu=float(bleu.score),
        # sacrebleu centres its interval on the mean of the resamples, not on the score.
        bleu_low=max(float(middle - half), 0.0),
        bleu_high=min(float(middle + half), 100.0),
        chrf=float(chrf.score),
        signature=str(bleu_metric.get_signature()),
        chrf_signature=str(chrf_metric.get_signature()),
        num_utterances=len(pairs.utterances),
        num_empty=pairs.num_empty,
    )


def score_recognition(
    pairs: Pairs, target: Target = TARGETS[DEFAULT_TARGET], num_bootstrap: int = NUM_BOOTSTRAP
) -> RecognitionScore:
    """Score transcripts with jiwer: word and character error rate of the set as a whole.

    Args:
        pairs: At least one pair.
        target: Not used: a transcript is in the language of the speech.
        num_bootstrap: Not used: there is no interval.

    Returns:
        The score; the rates are all errors over all words or characters, not a mean over utterances.
    """
    references = [" ".join(text.split()) for text in pairs.references]
    hypotheses = [" ".join(text.split()) for text in pairs.hypotheses]
    words = jiwer.process_words(references, hypotheses)
    characters = jiwer.process_characters(references, hypotheses)
    word_errors = words.substitutions + words.deletions + words.insertions
    character_errors = characters.substitutions + characters.deletions + characters.insertions
    num_words = words.hits + words.substitutions + words.deletions
    num_characters = characters.hits + characters.substitutions + characters.deletions
    kept = f"case:mixed|punct:kept|norm:none|space:collapsed|jiwer:{version('jiwer')}"
    return RecognitionScore(
        wer=100.0 * word_errors / num_words,
        cer=100.0 * character_errors / num_characters,
        num_word_errors=word_errors,
        num_words=num_words,
        num_character_errors=character_errors,
        num_characters=num_characters,
        signature=f"WER|unit:white-space-word|{kept}",
        cer_signature=f"CER|unit:code-point-with-spaces|{kept}",
        num_utterances=len(pairs.utterances),
        num_empty=pairs.num_empty,
    )
