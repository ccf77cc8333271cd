"""Scores of decoded text, paired on utterance ids.

    {utterance: hypothesis} + {utterance: reference} -> Pairs -> BLEU, chrF, TER | WER (as it is, normalised), CER

Each score has its signature. Text is compared as it is: case, punctuation and Unicode form are kept, so ß is not ss and
ı is not i; only the normalised WER compares what text/normaliser.py makes of both sides.
BLEU and chrF are sacrebleu's, cased and detokenised, 0 to 100; TER is sacrebleu's in lower case, its default, in
percent. WER and CER are jiwer's, in percent (above 100 with many insertions, as TER). For WER and CER every run of
Unicode white space counts as one space and none stays at the ends; words are what is between the spaces, and a space
inside a text is a character of its CER. A sentence of a language written without spaces (Chinese, Japanese, Thai) is
one word, so there CER ranks.
BLEU cuts words with the target language's tokenizer, and scores of different ones are never averaged or compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import jiwer
from sacrebleu.metrics import CHRF

from speechllama.faults import InputError, first_ten
from speechllama.report.resampling import resampling_signature, score_resampled, score_segments, sign_segments
from speechllama.report.segments import SegmentScores
from speechllama.report.word_errors import CharacterErrorRate, WordErrorRate
from speechllama.text.bleu import bleu_metric
from speechllama.text.clean import is_blank
from speechllama.text.normaliser import describe_normalisers, normalise
from speechllama.text.targets import DEFAULT_TARGET, TARGETS, Target, lack_spaces
from speechllama.text.ter import ter_metric

NUM_BOOTSTRAP = 1000  # resamples of the 95 % interval, sacrebleu's own default


@dataclass(frozen=True)
class Pairs:
    """Hypotheses next to their references, sorted by the bytes of the utterance id.

    The order is fixed because the bootstrap draws by position: the order of lines must not move a score.
    """

    utterances: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]
    languages: tuple[str, ...] = ()  # of the speech; () where they are not known
    segments: Mapping[str, SegmentScores] = field(default_factory=dict)  # scores of utterances, by metric

    def map_texts(self, change: Callable[[str, str], str]) -> Pairs:
        """Change hypotheses and references alike; `change` gets a text and the language of its utterance."""
        languages = self.languages or ("",) * len(self.utterances)
        hypotheses, references = (tuple(map(change, texts, languages)) for texts in (self.hypotheses, self.references))
        return replace(self, hypotheses=hypotheses, references=references)

    def select(self, rows: Sequence[int]) -> Pairs:
        """Take some of the pairs, by their places."""
        columns = (self.utterances, self.hypotheses, self.references, self.languages)
        taken = [tuple(column[row] for row in rows) if column else () for column in columns]
        utterances, hypotheses, references, languages = taken
        return Pairs(utterances, hypotheses, references, languages, self.segments)

    def of_segments(self, metric: str) -> Pairs:
        """Put scores of utterances, as texts, in place of the hypotheses, which `SegmentMean` reads.

        Args:
            metric: Its name, one of `segments`.
        """
        scores = self.segments[metric].scores
        texts = tuple(repr(scores[utterance]) for utterance in self.utterances)
        return replace(self, hypotheses=texts, references=("",) * len(texts))

    @property
    def num_empty(self) -> int:
        """Count the hypotheses without any text."""
        return sum(not hypothesis.strip() for hypothesis in self.hypotheses)


@dataclass(frozen=True)
class TranslationScore:
    """BLEU with its 95 % bootstrap interval, chrF and TER of a set of utterances; no TER where nothing finds words.

    COMET, with an interval, where its scores of the utterances are there (`Pairs.segments`).
    """

    bleu: float
    bleu_low: float
    bleu_high: float
    chrf: float
    signature: str
    chrf_signature: str
    num_utterances: int
    num_empty: int
    ter: float | None = None
    ter_signature: str | None = None
    comet: float | None = None
    comet_low: float | None = None
    comet_high: float | None = None
    comet_signature: str | None = None

    def __str__(self) -> str:
        return (
            f"BLEU {self.bleu:.2f} [{self.bleu_low:.2f}, {self.bleu_high:.2f}] ({self.signature}), "
            f"chrF {self.chrf:.2f} ({self.chrf_signature}), "
            + (f"TER {self.ter:.2f} % ({self.ter_signature}), " if self.ter is not None else "")
            + (f"COMET {self.comet:.2f} ({self.comet_signature}), " if self.comet is not None else "")
            + f"{self.num_utterances} utterances, {self.num_empty} empty"
        )


@dataclass(frozen=True)
class RecognitionScore:
    """Word and character error rates in percent, with the counts they are the quotients of.

    The word error rates have 95 % bootstrap intervals, and the character error rate has one where it ranks, see
    `Task.without_spaces`. `wer_normalised` is of normalised texts, the others of texts as they are.
    """

    wer: float
    wer_low: float
    wer_high: float
    wer_normalised: float
    wer_normalised_low: float
    wer_normalised_high: float
    cer: float
    num_word_errors: int
    num_words: int
    num_character_errors: int
    num_characters: int
    signature: str
    wer_normalised_signature: str
    cer_signature: str
    num_utterances: int
    num_empty: int
    cer_low: float | None = None
    cer_high: float | None = None

    def __str__(self) -> str:
        return (
            f"WER {self.wer:.2f} % [{self.wer_low:.2f}, {self.wer_high:.2f}] ({self.signature}), "
            f"normalised {self.wer_normalised:.2f} % ({self.wer_normalised_signature}), "
            f"CER {self.cer:.2f} % ({self.cer_signature}), "
            f"{self.num_utterances} utterances, {self.num_empty} empty"
        )


def has_texts(references: Mapping[str, str]) -> bool:
    """Whether a table has any text; one without is that of a set that is decoded and not scored."""
    return not all(map(is_blank, references.values()))


def pair(
    hypotheses: Mapping[str, str],
    references: Mapping[str, str],
    name: str = "hypotheses",
    languages: Mapping[str, str] | None = None,
    may_be_empty: bool = False,
) -> Pairs:
    """Put each hypothesis next to the reference of the same utterance.

    Args:
        hypotheses: Text by utterance id; an empty text is a hypothesis and is counted.
        references: Text by utterance id.
        name: Where the hypotheses are from, for messages.
        may_be_empty: References may be empty.
        languages: Language of the speech by utterance id, which normalising asks for; None where it is not known.

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
    if empty and not may_be_empty:
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
        () if languages is None else tuple(languages.get(utterance, "") for utterance in utterances),
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
    parts = split_pairs(pairs, languages, "utt2lang", "language")
    return {name: replace(part, languages=(name,) * len(part.utterances)) for name, part in parts.items()}


def split_pairs(pairs: Pairs, values: Mapping[str, str], table: str, what: str) -> dict[str, Pairs]:
    """Sort pairs into one set for each value of a table, such as utt2target; see `split_by_language`."""
    unknown = [utterance for utterance in pairs.utterances if not values.get(utterance)]
    if unknown:
        raise InputError(
            f"{table}: {len(unknown)} of {len(pairs.utterances)} utterances have no {what}; "
            f"validate the data directory:{first_ten(unknown)}"
        )
    rows: dict[str, list[int]] = {}
    for row, utterance in enumerate(pairs.utterances):
        rows.setdefault(values[utterance], []).append(row)
    return {value: pairs.select(rows[value]) for value in sorted(rows)}


def wer_metric(target: Target) -> WordErrorRate:
    """Return the word error rate; the target is not used, since a transcript is in the language of the speech."""
    return WordErrorRate()


def cer_metric(target: Target) -> CharacterErrorRate:
    """Return the character error rate; the target is not used."""
    return CharacterErrorRate()


def score_translation(
    pairs: Pairs, target: Target = TARGETS[DEFAULT_TARGET], num_bootstrap: int = NUM_BOOTSTRAP
) -> TranslationScore:
    """Score translations with sacrebleu: corpus BLEU (cased), chrF and TER.

    Args:
        pairs: At least one pair.
        target: The language they are in; BLEU cuts words with its tokenizer.
        num_bootstrap: Resamples of the interval; with 1 or less the interval is [bleu, bleu] and the
            signature names none.

    Returns:
        The score. The seed of the bootstrap is sacrebleu's (SACREBLEU_SEED, 12345) and part of the signature.
    """
    metric, chrf_metric = bleu_metric(target), CHRF(word_order=target.chrf_word_order)
    bleu, low, high = score_resampled(metric, pairs, num_bootstrap)
    chrf = chrf_metric.corpus_score(list(pairs.hypotheses), [list(pairs.references)])
    edits = ter_metric(target)
    ter = edits.corpus_score(list(pairs.hypotheses), [list(pairs.references)]) if edits else None
    comet = score_segments(pairs, "comet", num_bootstrap)
    return TranslationScore(
        bleu=bleu,
        bleu_low=max(low, 0.0),
        bleu_high=min(high, 100.0),
        chrf=float(chrf.score),
        signature=str(metric.get_signature()),
        chrf_signature=str(chrf_metric.get_signature()),
        num_utterances=len(pairs.utterances),
        num_empty=pairs.num_empty,
        ter=float(ter.score) if ter else None,
        ter_signature=str(edits.get_signature()) if edits else None,
        comet=comet[0],
        comet_low=comet[1],
        comet_high=comet[2],
        comet_signature=sign_segments(pairs, "comet", num_bootstrap),
    )


def score_recognition(
    pairs: Pairs, target: Target = TARGETS[DEFAULT_TARGET], num_bootstrap: int = NUM_BOOTSTRAP
) -> RecognitionScore:
    """Score transcripts with jiwer: word and character error rate of the set as a whole.

    Args:
        pairs: At least one pair.
        target: Not used: a transcript is in the language of the speech.
        num_bootstrap: Resamples of the intervals; with 1 or less there are none, and signatures name none.

    Returns:
        The score; the rates are all errors over all words or characters, not a mean over utterances.
    """
    wer, low, high = score_resampled(wer_metric(target), pairs, num_bootstrap)
    normalised = score_resampled(wer_metric(target), pairs.map_texts(normalise), num_bootstrap)
    collapsed = pairs.map_texts(lambda text, _: " ".join(text.split()))
    words = jiwer.process_words(list(collapsed.references), list(collapsed.hypotheses))
    characters = jiwer.process_characters(list(collapsed.references), list(collapsed.hypotheses))
    space = f"space:collapsed|jiwer:{version('jiwer')}"
    kept = f"case:mixed|punct:kept|norm:none|{space}"
    ranking_cer = score_resampled(cer_metric(target), pairs, num_bootstrap) if lack_spaces(pairs.languages) else None
    resampled = resampling_signature(num_bootstrap)
    norm = f"norm:{describe_normalisers(pairs.languages)}|{space}|transformers:{version('transformers')}"
    return RecognitionScore(
        wer=wer,
        wer_low=max(low, 0.0),
        wer_high=high,
        wer_normalised=normalised[0],
        wer_normalised_low=max(normalised[1], 0.0),
        wer_normalised_high=normalised[2],
        cer=100.0 * count_errors(characters) / count_units(characters),
        num_word_errors=count_errors(words),
        num_words=count_units(words),
        num_character_errors=count_errors(characters),
        num_characters=count_units(characters),
        signature=f"WER|unit:white-space-word|{kept}{resampled}",
        wer_normalised_signature=f"WER|unit:white-space-word|{norm}{resampled}",
        cer_signature=f"CER|unit:code-point-with-spaces|{kept}{resampled if ranking_cer else ''}",
        num_utterances=len(pairs.utterances),
        num_empty=pairs.num_empty,
        cer_low=max(ranking_cer[1], 0.0) if ranking_cer else None,
        cer_high=ranking_cer[2] if ranking_cer else None,
    )


def count_errors(found: jiwer.WordOutput | jiwer.CharacterOutput) -> int:
    """Count substitutions, deletions and insertions."""
    return int(found.substitutions + found.deletions + found.insertions)


def count_units(found: jiwer.WordOutput | jiwer.CharacterOutput) -> int:
    """Count the words or characters of the references."""
    return int(found.hits + found.substitutions + found.deletions)
