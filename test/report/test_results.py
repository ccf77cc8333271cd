"""The page of results of whole, half-finished and damaged experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import score
from speechllama.bin.write_results import main
from speechllama.files import read_json, write_json, write_table
from speechllama.report.results import collect_results, find_decode_dirs, results_path

TRANSLATION: dict[str, Any] = {
    "task": "st",
    "set": "test",
    "bleu": 61.5,
    "bleu_low": 58.25,
    "bleu_high": 64.75,
    "chrf": 70.0,
    "signature": "nrefs:1|bs:1000|tok:13a",
    "chrf_signature": "nrefs:1|nc:6",
    "num_utterances": 150,
    "num_empty": 2,
    "control_bleu": 14.5,
    "per_language": {"de": {"bleu": 60.0, "control_bleu": 13.0}, "fr": {"bleu": 63.0, "control_bleu": 16.0}},
    "beam_size": 4,
    "rtf": 0.0321,
    "num_trainable": 1234567,
    "device": "cpu",
    "commit": "abc1234",
    "command": "python3 -m speechllama.bin.decode --beam_size 4",
}
RECOGNITION: dict[str, Any] = {
    "task": "asr",
    "set": "test",
    "wer": 12.5,
    "wer_low": 11.0,
    "wer_high": 14.0,
    "wer_normalised": 10.5,
    "wer_normalised_low": 9.0,
    "wer_normalised_high": 12.0,
    "cer": 4.25,
    "signature": "WER|jiwer:4",
    "wer_normalised_signature": "WER|norm",
    "cer_signature": "CER|jiwer:4",
    "num_utterances": 150,
    "num_empty": 0,
    "control_wer": 99.0,
    "per_language": {"de": {"wer": 12.5, "control_wer": 99.0}},
}
CTC_PART = {
    "wer": 9.5,
    "cer": 3.0,
    "signature": "WER|jiwer:4",
    "cer_signature": "CER|jiwer:4",
    "num_utterances": 90,
    "num_empty": 1,
    "compression_ratio": 9.75,
    "encoder_frames_per_vector": 2.44,
}
CTC = {
    "compressor": "frame_average",
    "text_name": "src_text",
    "sets": {"dev": {**CTC_PART, "per_language": {"de": CTC_PART}}},
}


def make_page(exp_dir: Path) -> str:
    """Run the command and read its page."""
    main(["--exp_dir", str(exp_dir), "--title", "Mini CoVoST 2"])
    return results_path(exp_dir).read_text(encoding="utf-8")


def test_the_page_shows_each_system_with_interval_control_and_signature(tmp_path: Path) -> None:
    for system, bleu in [("e6", 61.5), ("e1", 40.0)]:
        write_json(tmp_path / system / "decode_test_beam4" / "score.json", {**TRANSLATION, "bleu": bleu})
    write_json(tmp_path / "ctc" / "report.json", CTC)
    page = make_page(tmp_path)
    assert page.startswith("# Mini CoVoST 2\n")
    row = "| e6 | test | 4 | 61.50 [58.25, 64.75] | 70.00 | 14.50 | 150 (2) | 0.032 | 1,234,567 |"
    assert row in page
    assert page.index("| e1 | test | 4 | 40.00") < page.index(row)
    assert page.count(f"* `{TRANSLATION['signature']}`") == 1, "equal signatures are listed once"
    assert page.index(row) < page.index(TRANSLATION["signature"])
    assert "| system | set | beam | de | fr |" in page
    assert "| e6 | test | 4 | 60.00 (13.00) | 63.00 (16.00) |" in page
    assert "| dev | de | 9.50 | 3.00 | 9.75 | 2.44 | 90 (1) |" in page
    assert "| e6/decode_test_beam4 | cpu | abc1234 |" in page
    assert "    python3 -m speechllama.bin.decode --beam_size 4\n" in page
    assert "Missing" not in page and "Warnings" not in page


def test_recognition_has_its_own_table(tmp_path: Path) -> None:
    write_json(tmp_path / "e6_asr" / "decode_test_beam4" / "score.json", RECOGNITION)
    page = make_page(tmp_path)
    rates = "12.50 [11.00, 14.00] | 10.50 [9.00, 12.00] | 4.25"
    assert f"| e6_asr | test | - | {rates} | 99.00 | 150 (0) | - | - |" in page
    assert "* `WER|jiwer:4`" in page and "* `WER|norm`" in page and "* `CER|jiwer:4`" in page
    assert "BLEU" not in page


def test_a_recognition_score_of_an_older_version_has_no_interval_and_no_normalised_rate(tmp_path: Path) -> None:
    report = {key: value for key, value in RECOGNITION.items() if not key.startswith("wer_")}
    write_json(tmp_path / "e6_asr" / "decode_test_beam4" / "score.json", report)
    assert "| e6_asr | test | - | 12.50 | 4.25 | 99.00 | 150 (0) | - | - |" in make_page(tmp_path)


def test_a_rescored_set_shows_what_was_tuned_and_where_that_set_needs_no_score(tmp_path: Path) -> None:
    tuned = {"tuned_on": "exp/b1/decode_dev_beam4", "weight": 0.2, "length_norm": 0.5}
    rescored = {**TRANSLATION, **tuned, "own_metric": 55.125, "tuned_metric": 56.0}
    write_json(tmp_path / "b2" / "decode_test_beam4" / "score.json", rescored)
    recognised = {**RECOGNITION, **tuned, "own_metric": -14.0, "tuned_metric": -12.0}
    write_json(tmp_path / "b2_asr" / "decode_test_beam4" / "score.json", recognised)
    for part in ("dev", "test"):
        (tmp_path / "b1" / f"decode_{part}_beam4").mkdir(parents=True)
    page = make_page(tmp_path)
    assert "| b2 | test | 4 | 0.2 | 0.5 | b1/decode_dev_beam4 | 55.12 | 56.00 |" in page
    assert "| b2_asr | test | - | 0.2 | 0.5 | b1/decode_dev_beam4 | 14.00 | 12.00 |" in page
    assert "b1/decode_test_beam4: no score.json" in page and "b1/decode_dev_beam4: no score.json" not in page


def test_a_set_decoded_by_two_signatures_lists_both(tmp_path: Path) -> None:
    for system, tokenizer in [("e1", "13a"), ("e2", "zh")]:
        report = {**TRANSLATION, "signature": f"tok:{tokenizer}"}
        write_json(tmp_path / system / "decode_test_beam4" / "score.json", report)
    page = make_page(tmp_path)
    assert "* `tok:13a`" in page and "* `tok:zh`" in page


def test_warnings_are_repeated_on_the_page(tmp_path: Path) -> None:
    report = {**TRANSLATION, "warning": "not better than its control: ..."}
    write_json(tmp_path / "e1" / "decode_test_beam4" / "score.json", report)
    assert "* e1/decode_test_beam4: not better than its control" in make_page(tmp_path)


def test_a_set_of_which_clips_are_left_out_says_so(tmp_path: Path) -> None:
    report = {**TRANSLATION, "num_official": 153, "left_out": ["dump/test/skipped", "data/report.json"]}
    write_json(tmp_path / "e1" / "decode_test_beam4" / "score.json", report)
    page = make_page(tmp_path)
    assert "| 150 of 153 (2) |" in page
    files = "`dump/test/skipped` and `data/report.json` name them"
    assert f"* e1/decode_test_beam4: 3 of 153 are not scored; {files}\n" in page


def test_an_unfinished_experiment_gets_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    write_json(tmp_path / "e6" / "decode_test_beam4" / "score.json", TRANSLATION)
    (tmp_path / "e6" / "decode_test_beam4_control").mkdir()
    (tmp_path / "e6" / "decode_dev_beam4").mkdir()
    (tmp_path / "e3").mkdir()
    (tmp_path / "e3" / "config.yaml").touch()
    (tmp_path / "ctc").mkdir()
    (tmp_path / "ctc" / "config.yaml").touch()
    damaged = tmp_path / "e5" / "decode_test_beam4" / "score.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"task": "st",', encoding="utf-8")
    write_json(tmp_path / "e4" / "decode_test_beam4" / "score.json", {"task": "st", "bleu": 99.0})
    page = make_page(tmp_path)
    missing = page[page.index("## Missing") :]
    assert "* e6/decode_dev_beam4: no score.json\n" in missing
    assert "* e5/decode_test_beam4: e5/decode_test_beam4/score.json:1: not JSON" in missing
    assert "* e4/decode_test_beam4: score.json has no signature" in missing
    assert "* e3: no decoded set\n" in missing
    assert "* no CTC report\n" in missing
    assert "control: no" not in missing
    assert "| e6 | test |" in page and "99.00" not in page


def test_a_score_of_a_task_that_is_not_registered_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "e6" / "decode_test_beam4" / "score.json", {**TRANSLATION, "task": "dialect"})
    assert "* e6/decode_test_beam4: score.json is of an unknown task 'dialect'\n" in make_page(tmp_path)


def test_an_empty_experiment_gets_a_page(tmp_path: Path) -> None:
    page = make_page(tmp_path)
    assert "* no scored set" in page and "* no CTC report" in page


def test_controls_are_no_systems_of_their_own(tmp_path: Path) -> None:
    for name in ("decode_test_beam4", "decode_test_beam4_control"):
        (tmp_path / "e6" / name).mkdir(parents=True)
    assert [path.name for path in find_decode_dirs(tmp_path)] == ["decode_test_beam4"]


def test_no_experiment_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent: no such directory"):
        collect_results(tmp_path / "absent")


def test_a_further_data_directory_has_its_own_report_on_ctc(tmp_path: Path) -> None:
    cache = tmp_path / "ctc_x/compressed_frame_average"
    for folder, name in ((cache, "dev"), (cache / "real", "real")):
        report = {
            "compressor": "frame_average",
            "text_name": "src_text",
            "sets": {name: {**CTC_PART, "per_language": {}}},
        }
        write_json(folder / "report.json", report)
    page = make_page(tmp_path)
    assert "## CTC encoder ctc_x/compressed_frame_average," in page
    assert "## CTC encoder ctc_x/compressed_frame_average/real," in page and "| real | all | 9.50 |" in page


def test_a_system_that_another_one_starts_from_is_not_missing(tmp_path: Path) -> None:
    write_json(tmp_path / "st_e6_small" / "decode_test_beam4" / "score.json", TRANSLATION)
    for name, start in [("st_e6_small", "e5"), ("st_e5_small", ""), ("st_e5", ""), ("asr_e5_small", "")]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.yaml").write_text(f"init_system: {start}\n")
    missing = collect_results(tmp_path).missing
    assert "st_e5: no decoded set" in missing and "asr_e5_small: no decoded set" in missing
    assert not [line for line in missing if line.startswith("st_e5_small")]


def test_a_set_without_references_is_decoded_and_not_scored(tmp_path: Path) -> None:
    decoded, data = tmp_path / "exp/st_e6/decode_real_beam4", tmp_path / "dump/real"
    write_table(decoded / "text", {"a": "Hello.", "b": ""})
    write_json(decoded / "decode.json", {"beam_size": 4, "num_utterances": 2})
    write_table(data / "text", {"a": "", "b": "\u200b"})
    write_table(data / "utt2lang", {"a": "de", "b": "de"})
    score.main(["--hyp_dir", str(decoded), "--data_dir", str(data)])
    report = read_json(decoded / "score.json")
    assert report["unscored"] == f"no references in {data}/text" and "bleu" not in report
    assert (report["set"], report["num_utterances"], report["num_empty"], report["beam_size"]) == ("real", 2, 1, 4)
    page = make_page(tmp_path / "exp")
    assert f"## Decoded, not scored\n\n* st_e6/decode_real_beam4: no references in {data}/text\n" in page
    assert "no scored set" not in page
    write_table(data / "text", {"a": "Hello.", "b": ""})
    with pytest.raises(ValueError, match="1 of 2 references are empty"):
        score.main(["--hyp_dir", str(decoded), "--data_dir", str(data)])
