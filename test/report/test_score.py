"""Scores: BLEU and chrF against sacrebleu's own command, WER and CER against counting by hand."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin.score import main
from speechllama.files import write_table
from speechllama.report.decoded_set import DecodedSet, find_warning, format_report, score_decoded_set, score_path
from speechllama.report.score import pair, score_recognition, score_translation, split_by_language

REFERENCES = {
    "a1": "A dog runs in the garden today.",
    "a2": "The cat sat on the mat.",
    "b1": "He reads a book.",
}
HYPOTHESES = {"a1": "A dog runs in a garden today.", "a2": "the cat sat on the mat.", "b1": ""}
LANGUAGES = {"a1": "de", "a2": "de", "b1": "fr"}
# `sacrebleu ref -i hyp -m bleu --confidence -w 4` (2.6.0) on the lines above: 47.2164, mu 45.5221 +- 40.4553;
# `-m chrf -w 4`: 68.0535.
BLEU, LOW, HIGH, CHRF = 47.2164, 45.5221 - 40.4553, 45.5221 + 40.4553, 68.0535


def write_set(folder: Path, hypotheses: dict[str, str], control: dict[str, str] | None = None) -> list[str]:
    """Lay out a decoded set, its data directory and its control; return the options of the command."""
    for name, values in [("text", REFERENCES), ("src_text", REFERENCES), ("utt2lang", LANGUAGES)]:
        write_table(folder / "dump" / "test" / name, values)
    write_table(folder / "hyp" / "text", hypotheses)
    options = ["--hyp_dir", str(folder / "hyp"), "--data_dir", str(folder / "dump" / "test")]
    if control is not None:
        write_table(folder / "control" / "text", control)
        options += ["--control_dir", str(folder / "control")]
    return options


def test_bleu_chrf_and_interval_equal_the_sacrebleu_command() -> None:
    score = score_translation(pair(HYPOTHESES, REFERENCES))
    found = [score.bleu, score.bleu_low, score.bleu_high, score.chrf]
    assert found == pytest.approx([BLEU, LOW, HIGH, CHRF], abs=2e-4)
    assert (score.num_utterances, score.num_empty) == (3, 1)
    expected = "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:"
    assert score.signature.startswith(expected)
    assert score.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_without_bootstrap_the_score_is_the_same_and_the_signature_says_so() -> None:
    score = score_translation(pair(HYPOTHESES, REFERENCES), num_bootstrap=1)
    assert score.bleu == pytest.approx(BLEU, abs=1e-4)
    assert score.bleu_low == score.bleu == score.bleu_high
    assert "bs:" not in score.signature


def test_a_score_is_never_shown_without_its_signature() -> None:
    translation = score_translation(pair(HYPOTHESES, REFERENCES))
    recognition = score_recognition(pair(HYPOTHESES, REFERENCES))
    for score, signatures in [
        (translation, [translation.signature, translation.chrf_signature]),
        (recognition, [recognition.signature, recognition.cer_signature]),
    ]:
        assert all(signature in str(score) for signature in signatures)


def test_the_order_of_lines_changes_nothing() -> None:
    names = list(REFERENCES)
    expected = score_translation(pair(HYPOTHESES, REFERENCES))
    for seed in range(3):
        random.Random(seed).shuffle(names)
        shuffled = {name: HYPOTHESES[name] for name in names}
        assert score_translation(pair(shuffled, REFERENCES)) == expected
        assert score_translation(pair(HYPOTHESES, {name: REFERENCES[name] for name in names})) == expected


# (reference, hypothesis, word errors, words, character errors, characters), counted by hand.
RECOGNITION_CASES = [
    ("das ist gut", "das ist gut", 0, 3, 0, 11),
    ("das ist gut", "das war gut", 1, 3, 3, 11),  # i-s-t -> w-a-r: three substitutions
    ("das ist gut", "", 3, 3, 11, 11),
    ("ja", "ja ja ja", 2, 1, 6, 2),  # insertions: 200 % WER, 300 % CER
    ("Das ist groß", "das ist gross", 2, 3, 3, 12),  # case and ß count: D -> d, ß -> s, one s more
    ("ısırgan otu", "isirgan otu", 1, 2, 2, 11),  # Turkish dotless ı is not i
    ("IŞIK", "ışık", 1, 1, 4, 4),
    ("你好世界", "你好世间", 1, 1, 1, 4),  # one word without spaces; CER is the number to read
    ("你好世界", "你好 世界", 2, 1, 1, 4),  # a space is a character
    ("これは本です。", "これは本です", 1, 1, 1, 7),  # punctuation counts
    ("  das\tist\u00a0 gut ", "das ist gut", 0, 3, 0, 11),  # white space is collapsed
]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "word_errors", "words", "character_errors", "characters"), RECOGNITION_CASES
)
def test_word_and_character_errors_equal_counting_by_hand(
    reference: str, hypothesis: str, word_errors: int, words: int, character_errors: int, characters: int
) -> None:
    score = score_recognition(pair({"u": hypothesis}, {"u": reference}))
    assert (score.num_word_errors, score.num_words) == (word_errors, words)
    assert (score.num_character_errors, score.num_characters) == (character_errors, characters)
    assert score.wer == pytest.approx(100 * word_errors / words)
    assert score.cer == pytest.approx(100 * character_errors / characters)


def test_errors_of_the_languages_add_up_to_the_whole() -> None:
    cases = {f"u{number:02}": case for number, case in enumerate(RECOGNITION_CASES)}
    references = {name: case[0] for name, case in cases.items()}
    pairs = pair({name: case[1] for name, case in cases.items()}, references)
    languages = {name: "xyz"[number % 3] for number, name in enumerate(cases)}
    parts = [score_recognition(part) for part in split_by_language(pairs, languages).values()]
    whole = score_recognition(pairs)
    assert len(parts) == 3
    for key in ("num_word_errors", "num_words", "num_character_errors", "num_characters", "num_utterances"):
        assert sum(getattr(part, key) for part in parts) == getattr(whole, key)
    assert whole.num_word_errors == sum(case[2] for case in RECOGNITION_CASES)


@pytest.mark.parametrize("text", ["Grüße aus Straße.", "ISPARTA ılık İĞNE", "你好，世界", "e\u0301t\u00e9"])
def test_text_is_not_touched(text: str) -> None:
    pairs = pair({"u": text}, {"u": text})
    assert pairs.hypotheses == pairs.references == (text,)


def test_missing_hypotheses_are_counted_and_the_first_ten_named() -> None:
    references = {f"u{number:02}": "text" for number in range(20)}
    message = r"12 of 20 utterances have no hypothesis; .*resumes\):\n  u08\n  (.|\n)*u17\n  \.\.\. and 2 more"
    with pytest.raises(ValueError, match=message) as error:
        pair({f"u{number:02}": "text" for number in range(8)}, references, "exp/e6/text")
    assert str(error.value).startswith("exp/e6/text: ")
    assert "u18" not in str(error.value)


def test_extra_hypotheses_and_empty_references_are_named_in_the_same_message() -> None:
    with pytest.raises(ValueError) as error:
        pair({"u1": "a", "x9": "b"}, {"u1": " ", "u2": "c"})
    assert "1 of 2 utterances have no hypothesis; decode them (the same command resumes):\n  u2" in str(error.value)
    assert "1 of 2 hypotheses have no reference; score against the data they were decoded from:\n  x9" in (
        str(error.value)
    )
    assert "1 of 2 references are empty; remove these utterances from the data:\n  u1" in str(error.value)


def test_no_utterance_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no reference"):
        pair({}, {})


def test_an_utterance_without_language_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 of 3 utterances have no language; .*:\n  b1"):
        split_by_language(pair(HYPOTHESES, REFERENCES), {"a1": "de", "a2": "de"})


def test_a_hypothesis_given_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    write_set(tmp_path, HYPOTHESES)
    with (tmp_path / "hyp" / "text").open("a", encoding="utf-8") as stream:
        stream.write("a1 again\n")
    with pytest.raises(ValueError, match=r"text:4: the key 'a1' comes a second time"):
        score_decoded_set(DecodedSet(tmp_path / "hyp", tmp_path / "dump" / "test"), "st")


def test_the_score_file_of_a_translation_holds_control_languages_and_decoding(tmp_path: Path) -> None:
    control = {"a1": REFERENCES["b1"], "a2": REFERENCES["a1"], "b1": REFERENCES["a2"]}
    options = write_set(tmp_path, REFERENCES, control)
    decoding = {"rtf": 0.25, "beam_size": 4, "num_utterances": 99}
    (tmp_path / "hyp" / "decode.json").write_text(json.dumps(decoding), encoding="utf-8")
    main(options)
    report = json.loads(score_path(tmp_path / "hyp").read_text(encoding="utf-8"))
    assert (report["task"], report["set"], report["bleu"], report["chrf"]) == ("st", "test", 100.0, 100.0)
    assert (report["rtf"], report["beam_size"], report["num_utterances"]) == (0.25, 4, 3)
    assert report["control_bleu"] < 20 and report["control_chrf"] < 40
    assert "warning" not in report
    assert list(report["per_language"]) == ["de", "fr"]
    assert report["per_language"]["de"]["num_utterances"] == 2
    assert report["per_language"]["fr"]["control_bleu"] < 20
    # The same shuffled lines for one language are what sacrebleu scores on that language.
    german = {name: control[name] for name in ("a1", "a2")}
    expected = score_translation(pair(german, {name: REFERENCES[name] for name in german}))
    assert report["per_language"]["de"]["control_bleu"] == pytest.approx(expected.bleu, abs=1e-4)


def test_what_was_left_out_is_counted_and_its_files_named(tmp_path: Path) -> None:
    main(write_set(tmp_path, REFERENCES))
    report = json.loads(score_path(tmp_path / "hyp").read_text(encoding="utf-8"))
    assert report["num_official"] == 3 and "left_out" not in report
    data = tmp_path / "dump" / "test"
    (data / "skipped").write_text("c9\tno feature frame\n")
    report = score_decoded_set(DecodedSet(tmp_path / "hyp", data), "st")
    assert (report["num_utterances"], report["num_official"], report["left_out"]) == (3, 4, [str(data / "skipped")])
    corpus = tmp_path / "report.json"  # stage 1 dropped two more, which had no clip
    languages = {"de": {"splits": {"test": {"rows": 4}}}, "fr": {"splits": {"test": {"rows": 2}, "train": {"rows": 9}}}}
    corpus.write_text(json.dumps({"languages": languages}))
    report = score_decoded_set(DecodedSet(tmp_path / "hyp", data, corpus_report=corpus), "st")
    assert report["num_official"] == 6 and report["left_out"] == [str(data / "skipped"), str(corpus)]
    assert "3 of 6 utterances" in format_report(report)


@pytest.mark.parametrize(
    "form", ['{"train": 513}', '{"languages": {"de": 5}}', '{"languages": ["de"]}', "[]", "7", "{"]
)
def test_a_corpus_report_of_another_form_stops_no_scoring(tmp_path: Path, form: str) -> None:
    corpus = tmp_path / "report.json"
    corpus.write_text(form)
    main([*write_set(tmp_path, REFERENCES), "--corpus_report", str(corpus)])
    assert json.loads(score_path(tmp_path / "hyp").read_text(encoding="utf-8"))["num_official"] == 3


def test_the_score_file_of_a_recognition_holds_error_rates_and_control(tmp_path: Path) -> None:
    control = {"a1": "He reads a book.", "a2": "A dog.", "b1": "The cat sat on the mat."}
    main([*write_set(tmp_path, HYPOTHESES, control), "--task", "asr"])
    report = json.loads(score_path(tmp_path / "hyp").read_text(encoding="utf-8"))
    # By hand: the -> a, The -> the, four words deleted: 6 of 7 + 6 + 4 words.
    assert report["wer"] == pytest.approx(100 * 6 / 17, abs=1e-4)
    assert (report["num_word_errors"], report["num_words"], report["num_empty"]) == (6, 17, 1)
    assert report["per_language"]["de"]["wer"] == pytest.approx(100 * 2 / 13, abs=1e-4)
    assert report["per_language"]["fr"]["wer"] == 100.0
    assert report["control_wer"] > report["wer"] and report["control_cer"] > report["cer"]
    assert "bleu" not in report and "warning" not in report
    assert report["signature"].startswith("WER|") and report["signature"] in format_report(report)


@pytest.mark.parametrize("task", ["st", "asr"])
def test_a_score_that_its_control_shares_gets_a_warning(tmp_path: Path, task: str) -> None:
    main([*write_set(tmp_path, HYPOTHESES, HYPOTHESES), "--task", task])
    report = json.loads(score_path(tmp_path / "hyp").read_text(encoding="utf-8"))
    assert "not better than its control" in report["warning"]
    assert report["signature"] in report["warning"]


@pytest.mark.parametrize(
    ("report", "is_warned"),
    [
        ({"task": "st", "bleu": 50.0, "bleu_low": 45.0, "control_bleu": 14.0}, False),
        ({"task": "st", "bleu": 50.0, "bleu_low": 45.0, "control_bleu": 47.0}, True),  # inside the interval
        ({"task": "st", "bleu": 0.0, "bleu_low": 0.0, "control_bleu": 0.0}, True),
        ({"task": "st", "bleu": 50.0, "bleu_low": 45.0}, False),
        ({"task": "asr", "wer": 10.0, "wer_high": 12.0, "control_wer": 95.0}, False),
        ({"task": "asr", "wer": 92.0, "wer_high": 97.0, "control_wer": 95.0}, True),  # inside the interval
    ],
)
def test_better_means_clearly_above_the_control(report: dict[str, Any], is_warned: bool) -> None:
    assert bool(find_warning({**report, "signature": "s"})) == is_warned


def test_a_control_with_missing_utterances_is_an_error_that_names_its_file(tmp_path: Path) -> None:
    options = write_set(tmp_path, HYPOTHESES, {"a1": "x"})
    with pytest.raises(ValueError, match=r"control.text: 2 of 3 utterances have no hypothesis; .*:\n  a2\n  b1"):
        main(options)


def test_an_unknown_task_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown task 'mt', expected one of st, asr"):
        score_decoded_set(DecodedSet(tmp_path, tmp_path), "mt")
