"""The CTC report: error rates and compression, counted by hand on three utterances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin.ctc_report import main
from speechllama.files import write_table
from speechllama.report.ctc import read_lengths, report_compression, report_ctc
from speechllama.report.results import Results, format_results

TABLES = {
    "dump/dev/src_text": {"d1": "das ist gut", "d2": "ja", "f1": "il est là"},
    "dump/dev/utt2lang": {"d1": "de", "d2": "de", "f1": "fr"},
    "dump/dev/utt2num_frames": {"d1": "200", "d2": "100", "f1": "120"},
    "exp/ctc/compressed_frame_average/dev/ctc_hyp": {"f1": "il est la", "d2": "", "d1": "das ist gut"},
    "exp/ctc/compressed_frame_average/dev/utt2num_frames": {"d1": "22", "d2": "8", "f1": "12"},
}


def write_tables(folder: Path, **changed: dict[str, str]) -> None:
    """Write the tables above; a keyword replaces the table whose path ends with it."""
    for path, table in TABLES.items():
        for name, other in changed.items():
            table = other if path.endswith(name.replace("__", "/")) else table
        write_table(folder / path, table)


def run(folder: Path) -> dict[str, Any]:
    """Run the command and read its report."""
    compressed, output = folder / "exp/ctc/compressed_frame_average", folder / "exp/ctc"
    options = ["--compressed_dir", compressed, "--data_root", folder / "dump", "--sets", "dev"]
    main([str(option) for option in [*options, "--output_dir", output]])
    return json.loads((output / "report.json").read_text(encoding="utf-8"))


def test_error_rates_and_compression_equal_counting_by_hand(tmp_path: Path) -> None:
    write_tables(tmp_path)
    report = run(tmp_path)
    assert (report["compressor"], report["text_name"]) == ("frame_average", "src_text")
    dev = report["sets"]["dev"]
    # Wrong: the only word of d2 and "là", of 3 + 1 + 3 words; "ja" and à, of 11 + 2 + 9 characters.
    assert dev["wer"] == pytest.approx(100 * 2 / 7, abs=1e-4)
    assert dev["cer"] == pytest.approx(100 * 3 / 22, abs=1e-4)
    assert (dev["num_utterances"], dev["num_empty"]) == (3, 1)
    assert dev["compression_ratio"] == 10.0  # 420 frames, 42 vectors
    assert dev["encoder_frames_per_vector"] == 2.5
    german, french = dev["per_language"]["de"], dev["per_language"]["fr"]
    assert (german["wer"], german["compression_ratio"], german["num_utterances"]) == (25.0, 10.0, 2)
    assert (german["num_feature_frames"], french["num_feature_frames"]) == (300, 120)
    assert french["wer"] == pytest.approx(100 / 3, abs=1e-4)


def test_the_page_shows_every_language_and_the_signatures(tmp_path: Path) -> None:
    write_tables(tmp_path)
    report = run(tmp_path)
    page = (tmp_path / "exp/ctc/report.md").read_text(encoding="utf-8")
    assert "| dev | all | 28.57 | 13.64 | 10.00 | 2.50 | 3 (1) |" in page
    assert "| dev | de | 25.00 |" in page and "| dev | fr | 33.33 |" in page
    assert report["sets"]["dev"]["signature"] in page and report["sets"]["dev"]["cer_signature"] in page


def test_the_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    # 1000 / 10 and 30 / 30: the mean of the ratios would be 50.5.
    found = report_compression({"a": 1000, "b": 30}, {"a": 10, "b": 30}, ["a", "b"])
    assert found["compression_ratio"] == 1030 / 40
    assert (found["num_feature_frames"], found["num_vectors"]) == (1030, 40)


def test_an_utterance_without_ctc_text_is_an_error(tmp_path: Path) -> None:
    write_tables(tmp_path, ctc_hyp={"d1": "das ist gut"})
    with pytest.raises(ValueError, match=r"ctc_hyp: 2 of 3 utterances have no hypothesis; .*:\n  d2\n  f1"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"d1": "22", "d2": "8"}, "1 of 3 utterances have no length; run .* again:\n  f1"),
        ({"d1": "22", "d2": "0", "f1": "1.5"}, "2 lengths are no whole numbers above 0:\n  d2 '0'\n  f1 '1.5'"),
    ],
)
def test_wrong_lengths_are_an_error_with_the_utterances(tmp_path: Path, lengths: dict[str, str], message: str) -> None:
    write_tables(tmp_path, compressed_frame_average__dev__utt2num_frames=lengths)
    with pytest.raises(ValueError, match=message):
        run(tmp_path)


def test_lengths_of_further_utterances_do_not_matter(tmp_path: Path) -> None:
    write_table(tmp_path / "utt2num_frames", {"a": "3", "b": "x"})
    assert read_lengths(tmp_path / "utt2num_frames", ["a"]) == {"a": 3}


def test_no_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sets: found none"):
        report_ctc(tmp_path, tmp_path, [])


def test_ctc_that_writes_nothing_is_warned_of_and_fails_where_an_option_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tables(tmp_path, ctc_hyp={"d1": "", "d2": "", "f1": "la"})
    report = run(tmp_path)
    (warning,) = report["warnings"]
    assert warning.startswith("dev: CTC writes nothing for 2 of 3 utterances (67%): ") and "--max_epoch" in warning
    assert f"WARNING {warning}" in (tmp_path / "exp/ctc/report.md").read_text() and warning in caplog.text
    page = format_results(Results({}, {"ctc": report}, ()))
    assert f"## Warnings\n\n* ctc: {warning}" in page
    words = ["--compressed_dir", f"{tmp_path}/exp/ctc/compressed_frame_average", "--data_root", f"{tmp_path}/dump"]
    words += ["--sets", "dev", "--output_dir", f"{tmp_path}/exp/ctc", "--max_blank_share"]
    main([*words, "0.7"])
    with pytest.raises(ValueError, match="dev: CTC writes nothing for 2 of 3 utterances"):
        main([*words, "0.5"])


def test_a_few_empty_texts_are_no_warning(tmp_path: Path) -> None:
    names = [f"d{number}" for number in range(20)]
    same = {"src_text": "ja", "utt2lang": "de", "dev__utt2num_frames": "10"}
    tables = {name: dict.fromkeys(names, value) for name, value in same.items()}
    write_tables(tmp_path, **tables, ctc_hyp={name: "" if name == "d0" else "ja" for name in names})
    assert "warnings" not in run(tmp_path)


def test_a_set_without_transcripts_has_its_compression_and_no_error_rate(tmp_path: Path) -> None:
    write_tables(tmp_path, src_text={"d1": "", "d2": "", "f1": ""})
    dev = run(tmp_path)["sets"]["dev"]
    assert "wer" not in dev and "signature" not in dev
    assert (dev["num_utterances"], dev["num_empty"], dev["compression_ratio"]) == (3, 1, 10.0)
    assert "| dev | all | - | - | 10.00 | 2.50 | 3 (1) |" in (tmp_path / "exp/ctc/report.md").read_text()
