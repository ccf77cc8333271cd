"""Lists of utterances that were left out: reasons are codes, not sentences."""

from __future__ import annotations

from pathlib import Path

from speechllama.data.skipped import Reason, Skip, read_skipped, write_skipped


def test_what_is_written_is_read_back_in_the_order_of_bytes(tmp_path: Path) -> None:
    skipped = {"b": Skip(Reason.TOO_SHORT, "8 frames\n become 2"), "a": Skip(Reason.NO_FEATURES, "a.mp3:\tcut off")}
    write_skipped(tmp_path / "skipped", skipped)
    assert (tmp_path / "skipped").read_text() == "a\tno_features\ta.mp3: cut off\nb\ttoo_short\t8 frames become 2\n"
    assert list(read_skipped(tmp_path / "skipped").items()) == [
        ("a", Skip(Reason.NO_FEATURES, "a.mp3: cut off")),
        ("b", Skip(Reason.TOO_SHORT, "8 frames become 2")),
    ]
    assert read_skipped(tmp_path / "absent") == {}


def test_a_line_of_an_older_version_is_read_without_its_reason(tmp_path: Path) -> None:
    (tmp_path / "skipped").write_text("a\tits src_text '' has no CTC units\nb\tno feature frame\n")
    assert read_skipped(tmp_path / "skipped") == {
        "a": Skip(Reason.OTHER, "its src_text '' has no CTC units"),
        "b": Skip(Reason.OTHER, "no feature frame"),
    }


def test_every_reason_has_words() -> None:
    assert len({reason.in_words for reason in Reason}) == len(Reason)
