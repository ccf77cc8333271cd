"""The options of run.sh and run_table.sh: what each takes and refuses, and the help that follows from the fields."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from speechllama.options import UsageError, absolute_places, format_help, parse, to_words
from speechllama.recipe.options import PLACES, Options, TableOptions

LANGS = ("--langs", "de")


def read(*words: str, settings: tuple[str, ...] = LANGS) -> Options:
    """The options of a run whose recipe has these settings."""
    return parse(Options, words, settings)


def test_the_users_words_override_the_recipes_settings() -> None:
    settings = ("--langs", "de fr", "--pack_llm", "true", "--num_best", "1")
    options = read("--num_best", "2", "--pack_llm", "false", settings=settings)
    assert (options.langs, options.num_best, options.pack_llm) == ("de fr", 2, False)


def test_source_lang_is_another_name_of_langs() -> None:
    assert read("--source_lang", "es") == read("--source-lang=es") == read("--langs", "es")
    assert to_words(read("--source_lang", "es")) == ["--langs", "es"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dry_runn",), "unknown option --dry_runn; the nearest is --dry_run$"),
        (("--beam-sise=3",), "unknown option --beam_sise; the nearest is --beam_size$"),
        (("--nj", "two"), "^--nj: expected a whole number, found 'two'$"),
        (("--nj", "0"), "^--nj: expected at least 1, found 0$"),
        (("--num_best", "0"), "^--num_best: expected at least 1, found 0$"),
        (("--ctc_num_best", "0"), "^--ctc_num_best: expected at least 1, found 0$"),
        (("--beam_size", "0"), "^--beam_size: expected at least 1, found 0$"),
        (("--batch_size", "0"), "^--batch_size: expected at least 1, found 0$"),
        (("--num_nodes", "0"), "^--num_nodes: expected at least 1, found 0$"),
        (("--task", "mt"), "^--task: unknown value 'mt', expected one of st, asr, cot, joint, lid$"),
        (("--ctc_target", "text"), "^--ctc_target: unknown value 'text', expected one of transcript, translation$"),
        (("--corpus_kind", "libri"), "^--corpus_kind: unknown value 'libri', expected one of .*covost2"),
        (("--system", ""), "^--system: expected a value, found none$"),
        (("--langs", " "), "^--langs: expected a value, found none$"),
        (("--expdir", ""), "^--expdir: expected a value, found none$"),
        (("--sets", ""), "^--sets: expected a value, found none$"),
        (("--sets", "dev t:t"), "^--sets: data directory 't:t' needs a name of its own, .*; found 't:t'$"),
        (("--sets", "dev ../x/dev"), "^--sets: data directory '../x/dev' needs a name of its own, .*; found 'dev'$"),
        (("--sets", "../.."), "^--sets: data directory '../..' needs a name of its own, .*; found '..'$"),
        (("--data_options", "--text_column 'my text"), "^--data_options: .*'my text.*: No closing quotation$"),
        (("--decode_options", '"'), "^--decode_options: .*: No closing quotation$"),
        (("--sets", "test a/b/ c/b"), "^--sets: set 'b' is named more than once$"),
        (("--seed", "one"), "^--seed: expected a whole number, found 'one'$"),
        (("--ctc_units", "5k"), "^--ctc_units: expected a whole number, found '5k'$"),
        (("--target_units", "-5"), "^--target_units: expected a whole number, found '-5'$"),
        (("--llm", "no/such/place"), "^--llm: 'no/such/place' is no directory with config.json, nor a hub id"),
        (("--llm", "./org/name"), "^--llm: './org/name' is no directory"),
        (("--llm", "name"), "^--llm: 'name' is no directory"),
    ],
)
def test_wrong_usage_is_refused_with_the_option_and_the_value(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(*words)


def test_a_recipe_without_languages_is_refused() -> None:
    with pytest.raises(UsageError, match="^--langs: expected a value, found none$"):
        read(settings=())


def test_the_help_is_given_whatever_is_still_missing() -> None:
    assert read("--help", settings=()).help
    assert read("--help", "--beam_size", "0", settings=()).beam_size == 0


def test_an_llm_is_a_directory_with_a_config_or_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no directory with config.json"):
        read("--llm", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert read("--llm", str(tmp_path)).llm == str(tmp_path)
    assert read("--llm", "organisation/name").llm == "organisation/name"


def test_options_are_written_as_words_that_give_them_again() -> None:
    options = read("--nj", "3", "--from_features", "--ctc_options", "--max_epoch 5", "--tag", "a b", "--pack_llm")
    words = to_words(options)
    assert words == [
        *("--langs", "de", "--from_features", "true", "--tag", "a b", "--ctc_options", "--max_epoch 5"),
        *("--pack_llm", "true", "--nj", "3"),
    ]
    assert parse(Options, words) == options
    assert to_words(Options()) == []


@pytest.mark.parametrize("kind", [Options, TableOptions])
def test_every_field_is_an_option_with_a_line_of_help(kind: type[Options] | type[TableOptions]) -> None:
    lines = format_help(kind()).splitlines()
    shown = [line.split()[0].removeprefix("--") for line in lines if line.startswith("  --")]
    assert shown == [field.name for field in dataclasses.fields(kind)]
    assert all(field.metadata["help"] and "\n" not in field.metadata["help"] for field in dataclasses.fields(kind))
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == [field.metadata["group"] for field in dataclasses.fields(kind) if field.metadata["group"]]


def test_the_help_shows_the_values_in_force() -> None:
    text = format_help(read("--nj", "7", "--pack_llm"))
    assert "parallel jobs of data work [7]" in text and "packed model, too [true]" in text
    assert "  --langs            source languages, separated by spaces; or --source_lang [de]" in text


@pytest.mark.parametrize(
    ("ngpu", "num_nodes", "nj", "decode_nj", "processes", "jobs"),
    [(0, 1, 2, 0, 1, 2), (0, 1, 3, 5, 1, 5), (4, 1, 2, 0, 4, 4), (4, 2, 2, 0, 8, 8), (0, 2, 2, 0, 2, 2)],
)
def test_trainings_share_gpus_and_nodes_and_decoding_has_a_job_for_each_gpu(
    ngpu: int, num_nodes: int, nj: int, decode_nj: int, processes: int, jobs: int
) -> None:
    options = Options(ngpu=ngpu, num_nodes=num_nodes, nj=nj, decode_nj=decode_nj)
    assert (options.num_processes, options.decode_jobs) == (processes, jobs)


def test_paths_of_the_user_count_from_where_the_user_is(tmp_path: Path) -> None:
    for name in ("cv", "llm", "cmd.sh"):
        (tmp_path / name).mkdir()
    here = str(tmp_path)
    words = ["--common_voice", "cv", "--covost2=elsewhere", "--llm=llm", "--cmd", "cmd.sh", "--token-file", "/t"]
    assert absolute_places([*words, "--expdir", "cv", "--common-voice=cv", "--python", ""], PLACES, tmp_path) == [
        *("--common_voice", f"{here}/cv", "--covost2=elsewhere", f"--llm={here}/llm", "--cmd", f"{here}/cmd.sh"),
        *("--token-file", "/t", "--expdir", "cv", f"--common-voice={here}/cv", "--python", ""),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--systems", ""), "^--systems: expected a value, found none$"),
        (("--systems", "e6", "--seeds", "1 x"), "^--seeds: expected whole numbers, found 'x'$"),
        (("--systems", "e6", "--seeds", ""), "^--seeds: expected a value, found none$"),
        (("--systems", "e6", "--seeds", "²"), "^--seeds: expected whole numbers, found '²'$"),
    ],
)
def test_wrong_options_of_a_table_are_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(TableOptions, words)
