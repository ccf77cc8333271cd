"""Every utterance that a later stage leaves out is counted by language and split, with its reason."""

from __future__ import annotations

import json
from pathlib import Path

from speechllama.bin import report_left_out as entry
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.files import write_table


def test_what_later_stages_leave_out_is_counted_by_language_with_examples(tmp_path: Path) -> None:
    languages = {"a-1": "de", "a-2": "de", "b-1": "fr", "b-2": "fr"}
    for split in ("train", "dev", "test"):
        write_table(tmp_path / "data" / split / "utt2lang", languages)
    write_skipped(tmp_path / "dump/train/skipped", {"a-1": Skip(Reason.NO_FEATURES, "a.mp3: cut off")})
    write_skipped(tmp_path / "dump/test/skipped", {"b-2": Skip(Reason.NO_FEATURES, "b.mp3: no audio")})
    short = "8 frames become 2, 5 units need 5"
    skipped = {"b-1": Skip(Reason.NO_UNITS, "its src_text '' has no CTC units"), "b-2": Skip(Reason.TOO_SHORT, short)}
    write_skipped(tmp_path / "stats/train/skipped", skipped)
    arguments = ["--data_root", f"{tmp_path}/data", "--dump_root", f"{tmp_path}/dump"]
    entry.main([*arguments, "--stats_dir", f"{tmp_path}/stats"])
    page = (tmp_path / "stats/left_out.md").read_text()
    assert "| de | train | 2 | 1 without features, since the audio cannot be read |" in page
    assert "- de train: 1 without features, since the audio cannot be read, first: a-1: a.mp3: cut off\n" in page
    assert f"left out of CTC training, first: b-2: {short}\n" in page
    assert "| de | dev | 2 | - |" in page
    assert "| fr | test | 2 | 1 without features, since the audio cannot be read |" in page
    found = json.loads((tmp_path / "stats/left_out.json").read_text())
    assert [list(entry["dropped"]) for entry in found.values()] == [
        ["no_features"],
        ["no_units", "too_short"],
        *([], []),
        *([], ["no_features"]),
    ]
    assert [sum(reason["count"] for reason in entry["dropped"].values()) for entry in found.values()] == [
        *(1, 2),
        *(0, 0),
        *(0, 1),
    ]
