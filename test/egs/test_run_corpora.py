"""run.sh with a fake Python: where corpora lie, when they are prepared anew, options that reach the data."""

from __future__ import annotations

import os
import re
from pathlib import Path

from test.egs.conftest import CONFS, Checkout


def test_options_of_features_reach_them(checkout: Checkout) -> None:
    checkout.run("--stop_stage", "2", "--feature_options", "--max_bad_share 0.2")
    calls = [call for call in checkout.calls() if call[0] in ("make_features", "merge_parts")]
    assert len(calls) == 3 and all(call[-2:] == ["--max_bad_share", "0.2"] for call in calls)


def test_paths_of_the_user_are_relative_to_the_user(checkout: Checkout, tmp_path: Path) -> None:
    for lang in ("de", "fr"):
        clips = tmp_path / "my corpora" / "cv" / lang
        clips.mkdir(parents=True)
        (clips / "validated.tsv").touch()
        (tmp_path / "my corpora" / f"covost_v2.{lang}_en.tsv").touch()
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").touch()
    corpora = ["--common_voice", "my corpora/cv", "--covost2", "my corpora", "--langs", "de fr"]
    result = checkout.run(*corpora, "--llm", "llama", "--size", "small", recipe="covost2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    calls = {call[0]: " ".join(call) for call in checkout.calls()}
    assert f"--common_voice {tmp_path}/my corpora/cv --covost2 {tmp_path}/my corpora" in calls["prepare_data"]
    assert f"--llm {tmp_path}/llama --output_dir exp/llm_llama" in calls["prepare_llm"]
    assert (checkout.directory / "egs/covost2/exp/st_e6_small_llama/packed.zip").exists()


def test_another_corpus_is_prepared_anew_however_old_it_is(checkout: Checkout, tmp_path: Path) -> None:
    for corpus in ("old", "new"):
        (tmp_path / corpus / "cv-corpus-6.1" / "de").mkdir(parents=True)
        for name in ("cv-corpus-6.1/de/validated.tsv", "covost_v2.de_en.tsv"):
            (tmp_path / corpus / name).touch()
            os.utime(tmp_path / corpus / name, (1, 1))
    arguments = ["--langs", "de", "--stop_stage", "1"]
    for corpus, expected in [("new", 1), ("new", 0), ("old", 1)]:
        places = ["--common_voice", str(tmp_path / corpus), "--covost2", str(tmp_path / corpus)]
        assert checkout.run(*arguments, *places, recipe="covost2").returncode == 0
        assert [call[0] for call in checkout.calls()].count("prepare_data") == expected


def test_archives_and_pseudo_labels_that_change_are_prepared_anew(checkout: Checkout, tmp_path: Path) -> None:
    for corpus in ("old", "new"):
        (tmp_path / corpus / "cv-corpus-6.1" / "zh-CN").mkdir(parents=True)
        for name in ("sv-SE.tar.gz", "cv-corpus-6.1-ar.tar.gz", "my-cv.tgz"):
            (tmp_path / corpus / name).touch()
    pseudo, archive = tmp_path / "pseudo.tsv", tmp_path / "new/sv-SE.tar.gz"
    pseudo.write_text("lang")
    arguments = ["--langs", "sv zh", "--stop_stage", "1", "--covost2", "https://example.org"]
    arguments += ["--data_options", f"--pseudo_labels {pseudo} --drop_overlap true"]

    def prepared(corpus: str) -> int:
        result = checkout.run(*arguments, "--common_voice", f"{tmp_path}/{corpus}", recipe="covost2")
        assert result.returncode == 0, result.stderr
        return [call[0] for call in checkout.calls()].count("prepare_data")

    assert [prepared(corpus) for corpus in ("old", "old/", "new", "new")] == [1, 0, 1, 0]
    for path, text, expected in (
        (archive, "another", 1),
        (pseudo, "lang\n", 1),
        (tmp_path / "new/my-cv.tgz", "whose language only its content tells", 1),
        (tmp_path / "new/cv-corpus-6.1-ar.tar.gz", "of a language that is not trained", 0),
        (tmp_path / "new/cv-corpus-6.1/zh-CN/validated.tsv", "--langs zh finds it", 1),
        (archive, "an older one", 1),
    ):
        path.write_text(text)
        if text == "an older one":
            os.utime(path, (1, 1))
        assert [prepared("new"), prepared("new")] == [expected, 0], path
    arguments[4:6] = ["--covost2", "https://example.net"]
    assert prepared("new") == 1


def test_default_corpora_are_those_of_downloads_whoever_stands_where(checkout: Checkout, tmp_path: Path) -> None:
    for name in ("common_voice", "covost2"):
        (checkout.mini / "downloads" / name).mkdir(parents=True)
    arguments = ["--stop_stage", "1", "--langs", "de"]
    for downloads, more in (("downloads", []), (str(tmp_path), ["--downloads", str(tmp_path)])):
        result = checkout.run(*arguments, *more, recipe="covost2", cwd=checkout.mini)
        assert result.returncode == 0, result.stderr
        (call,) = (call for call in checkout.calls() if call[0] == "prepare_data")
        assert f"--common_voice {downloads}/common_voice --covost2 {downloads}/covost2" in " ".join(call)


def test_a_recipe_of_ones_own_notices_an_edited_script_and_says_how_to_run_a_finished_stage(
    checkout: Checkout, tmp_path: Path
) -> None:
    own = checkout.directory / "egs/radio"
    (own / "local").mkdir(parents=True)
    for name, text in CONFS.items():
        (own / "conf").mkdir(exist_ok=True)
        (own / "conf" / name).write_text(text)
    script = (checkout.mini / "run.sh").read_text()
    (own / "run.sh").write_text(re.sub("--corpus_kind mini_covost2 ", "", script))
    mini = (checkout.mini / "local/data.sh").read_text()
    (own / "local/data.sh").write_text(mini)  # the fake Python writes what its arguments say
    for path in (own / "run.sh", own / "local/data.sh"):
        path.chmod(0o755)
    (tmp_path / "my radio").mkdir()

    def prepared(*words: str) -> list[str]:
        result = checkout.run("--stop_stage", "1", *words, recipe="radio", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        calls = [" ".join(call) for call in checkout.calls() if call[0] == "prepare_data"]
        return [*calls, *[line.strip() for line in result.stdout.splitlines() if "to run it all the same" in line]]

    (call,) = prepared("--corpus", "my radio")
    assert call.endswith(f"--corpus {tmp_path}/my radio")
    assert prepared() == []
    (hint,) = prepared("--stage", "1")
    assert hint.endswith("first: rm " + str(own / "data/.data.done").replace(" ", "\\ "))
    (own / "local/prepare.py").write_text("pass\n")
    assert prepared() == [call]  # remembered, and stale with a new script
    (own / "local/prepare.py").write_text("pass  # edited\n")
    later = (own / "data/.data.done").stat().st_mtime + 2
    os.utime(own / "local/prepare.py", (later, later))
    assert prepared() == [call]
