"""Sets with several target languages: a score of each and none of all; and languages without spaces, ranked by CER."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import score
from speechllama.files import read_json, write_table
from speechllama.report.decoded_set import expand_targets, format_report, name_pair, rank, score_path
from speechllama.report.results import results_path, write_results
from speechllama.report.score import pair, score_translation
from speechllama.text.targets import TARGETS
from speechllama.text.tasks import TASKS, task_of

GERMAN = {"en_a": "Der Hund schläft heute.", "en_b": "Die Katze trinkt heute Milch."}
CHINESE = {"en_c": "今天天气很好。", "en_d": "我喜欢喝咖啡。"}
TEXTS = {**GERMAN, **CHINESE}
FOUND = {**TEXTS, "en_b": "Die Katze trinkt heute Wasser.", "en_c": "今天天气好。"}


def write_set(root: Path, texts: dict[str, str], languages: dict[str, str], targets: dict[str, str]) -> None:
    """A data directory, its texts in both tables."""
    for name, table in (("text", texts), ("src_text", texts), ("utt2lang", languages), ("utt2target", targets)):
        if table:
            write_table(root / "dump/test" / name, table)


def score_set(root: Path, found: dict[str, str], *words: str) -> dict[str, Any]:
    """Score with a control that has the texts in another order, in each language."""
    decoded = root / "exp/st_e5/decode_test_beam4"
    write_table(decoded / "text", found)
    write_table(root / "exp/st_e5/decode_test_beam4_control/text", dict.fromkeys(found, "xyz"))
    (root / "exp/st_e5/config.yaml").write_text("compressor: frame_average\n")
    control = ["--control_dir", str(root / "exp/st_e5/decode_test_beam4_control")]
    score.main(["--hyp_dir", str(decoded), "--data_dir", str(root / "dump/test"), *control, *words])
    return read_json(score_path(decoded))


@pytest.fixture
def several(tmp_path: Path) -> dict[str, Any]:
    """Two German and two Chinese translations of English speech, scored."""
    targets = dict.fromkeys(GERMAN, "de") | dict.fromkeys(CHINESE, "zh-CN")
    write_set(tmp_path, TEXTS, dict.fromkeys(TEXTS, "en"), targets)
    return score_set(tmp_path, FOUND)


def test_each_target_has_its_score_and_all_together_have_none(several: dict[str, Any]) -> None:
    assert not {"bleu", "chrf", "signature", "target"} & several.keys()
    assert (several["num_utterances"], several["num_official"], several["num_empty"]) == (4, 4, 0)
    german, chinese = several["per_target"]["de"], several["per_target"]["zh-CN"]
    assert "tok:13a" in german["signature"] and "tok:zh" in chinese["signature"]
    own = score_translation(pair({name: FOUND[name] for name in CHINESE}, CHINESE), TARGETS["zh-CN"])
    assert chinese["bleu"] == pytest.approx(own.bleu, abs=1e-4) and chinese["control_bleu"] == 0
    assert set(german["per_language"]) == {"en"}
    assert [(part["target"], part["set"]) for part in expand_targets(several)] == [("de", "test"), ("zh-CN", "test")]
    lines = format_report(several).splitlines()
    assert lines[0].startswith("test (en to de): BLEU") and lines[1].startswith("test (en to zh-CN): BLEU")


def test_the_page_has_a_table_for_each_target(several: dict[str, Any], tmp_path: Path) -> None:
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert "## Translation into German\n\nLanguage pair: en to de.\n" in page
    assert "## Translation into Chinese\n\nLanguage pair: en to zh-CN.\n" in page
    assert page.index("tok:13a") < page.index("## Translation into Chinese") < page.index("tok:zh")
    assert page.count("| st_e5 | test | - |") == 4 and "## Missing" in page and "signature; write it again" not in page


def test_a_set_with_one_target_is_scored_as_ever_and_its_table_says_which(tmp_path: Path) -> None:
    write_set(tmp_path, CHINESE, dict.fromkeys(CHINESE, "en"), dict.fromkeys(CHINESE, "zh-CN"))
    report = score_set(tmp_path, {name: FOUND[name] for name in CHINESE})
    assert report["target"] == "zh-CN" and "tok:zh" in report["signature"] and "per_target" not in report
    assert name_pair(report) == "en to zh-CN"
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert "## Translation\n\nLanguage pair: en to zh-CN.\n" in page


def test_several_targets_are_tuned_by_chrf_which_has_no_tokenizer() -> None:
    targets = dict.fromkeys(GERMAN, "de") | dict.fromkeys(CHINESE, "zh-CN")
    better, worse = pair(TEXTS, TEXTS), pair(FOUND, TEXTS)
    assert rank(better, TASKS["st"], targets) > 99.9 > rank(worse, TASKS["st"], targets) > 0
    one = dict.fromkeys(CHINESE, "zh-CN")
    pairs = pair({name: FOUND[name] for name in CHINESE}, CHINESE)
    assert rank(pairs, TASKS["st"], one) == rank(pairs, TASKS["st"], "zh-CN")


def test_recognition_of_a_language_without_spaces_is_ranked_by_cer(tmp_path: Path) -> None:
    write_set(tmp_path, CHINESE, dict.fromkeys(CHINESE, "zh-CN"), {})
    report = score_set(tmp_path, {name: FOUND[name] for name in CHINESE}, "--task", "asr")
    assert report["ranks_by"] == "cer" and "target" not in report
    assert report["cer_low"] <= report["cer"] <= report["cer_high"] and report["control_cer"] == 100
    assert report["signature"].startswith("CER|unit:code-point-with-spaces|") and "|bs:1000|" in report["signature"]
    assert report["wer_signature"].startswith("WER|unit:white-space-word|") and "cer_signature" not in report
    assert (report["cer"], report["wer"]) == (pytest.approx(100 * 1 / 14, abs=1e-4), 50)
    assert task_of(report).ranks_by.name == "cer" and format_report(report).startswith("test (zh-CN): CER 7.14 % [")
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert "## Recognition, ranked by CER\n\nLanguage of the speech: zh-CN.\n" in page
    assert "no spaces between words, so that WER counts a sentence as one word" in page
    assert "| system | set | beam | CER % [95 %] | WER % [95 %] | WER normalised % [95 %] | control CER % |" in page


def test_recognition_of_other_languages_is_ranked_as_ever(tmp_path: Path) -> None:
    write_set(tmp_path, GERMAN, dict.fromkeys(GERMAN, "de"), {})
    report = score_set(tmp_path, {name: FOUND[name] for name in GERMAN}, "--task", "asr")
    assert not {"ranks_by", "cer_low", "wer_signature"} & report.keys()
    assert report["signature"].startswith("WER|") and "|bs:" not in report["cer_signature"]
    assert task_of(report) == TASKS["asr"] and rank(pair(GERMAN, GERMAN), task_of(report)) == 0


def test_an_utterance_without_a_target_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, GERMAN, dict.fromkeys(GERMAN, "en"), {"en_a": "de", "en_b": "xx"})
    with pytest.raises(ValueError, match="unknown target language 'xx'"):
        score_set(tmp_path, GERMAN)
