"""Names of directories and files: what a result depends on is in the name of what holds it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.options import UsageError
from speechllama.recipe.layout import decode_dir, table_dir
from speechllama.recipe.plan import Plan
from test.recipe.conftest import MakePlan

# Words of run.sh of mini_covost2 (120 units of CTC and of B1, seed 1) -> CTC encoder, cache, LLM, first system,
# what is trained and decoded, the system's own. "" where there is none; the CTC encoder is named even where unused.
CTC = "ctc_transcript_bpe120"
FRAMES = f"{CTC}/compressed_frame_average"
NAMES: dict[str, tuple[str, ...]] = {
    "--system e6": (CTC, FRAMES, "llm", "st_e5", "st_e6", "st_e6"),
    "--system e5": (CTC, FRAMES, "llm", "", "st_e5", "st_e5"),
    "--system e1": (CTC, f"{CTC}/compressed_blank_removal", "llm", "", "st_e1", "st_e1"),
    "--system u": (CTC, f"{CTC}/compressed_units500", "llm", "st_u_frozen", "st_u", "st_u"),
    "--system e0": (CTC, FRAMES, "llm", "", "st_e0", "st_e0"),
    "--system d": (CTC, FRAMES, "llm_decoder_st", "", "st_d", "st_d"),
    "--system b2": ("ctc_translation_bpe120", "", "llm", "", "st_b1", "st_b2"),
    "--system e6 --task asr": (CTC, FRAMES, "llm", "asr_e5", "asr_e6", "asr_e6"),
    "--system d --task asr": (CTC, FRAMES, "llm_decoder_asr", "", "asr_d", "asr_d"),
    "--system e6 --seed 1": (CTC, FRAMES, "llm", "st_e5", "st_e6", "st_e6"),
    "--system e6 --seed 7": (
        *(f"{CTC}_seed7", f"{CTC}_seed7/compressed_frame_average", "llm_seed7"),
        *("st_e5_seed7", "st_e6_seed7", "st_e6_seed7"),
    ),
    "--system d --seed 7": (f"{CTC}_seed7", "", "llm_decoder_st", "", "st_d_seed7", "st_d_seed7"),
    "--system b2 --seed 7": ("ctc_translation_bpe120_seed7", "", "llm_seed7", "", "st_b1_seed7", "st_b2_seed7"),
    "--system e6 --size small": (
        *(f"{CTC}_small", f"{CTC}_small/compressed_frame_average", "llm_small"),
        *("st_e5_small", "st_e6_small", "st_e6_small"),
    ),
    "--system d --size small": (f"{CTC}_small", "", "llm_decoder_small_st", "", "st_d_small", "st_d_small"),
    "--system e6 --llm some/big": (CTC, FRAMES, "llm_big", "st_e5_big", "st_e6_big", "st_e6_big"),
    "--system e6 --llm some/big --revision v2": (
        *(CTC, FRAMES, "llm_big_v2", "st_e5_big_v2", "st_e6_big_v2", "st_e6_big_v2"),
    ),
    "--system d --llm some/big": (CTC, FRAMES, "llm_decoder_st", "", "st_d", "st_d"),
    "--system b2 --llm some/big": ("ctc_translation_bpe120", "", "llm_big", "", "st_b1", "st_b2_big"),
    "--system e6 --tag t": (CTC, FRAMES, "llm", "st_e5_t", "st_e6_t", "st_e6_t"),
    "--system e6 --init_adapter some/theirs --tag t": (
        *(CTC, FRAMES, "llm", "st_e5_t", "st_e6_from_theirs_t", "st_e6_from_theirs_t"),
    ),
    "--system b2 --tag t": ("ctc_translation_bpe120", "", "llm", "", "st_b1_t", "st_b2_t"),
    "--system e6 --ctc_units 80": (
        *("ctc_transcript_bpe80", "ctc_transcript_bpe80/compressed_frame_average", "llm"),
        *("st_e5", "st_e6", "st_e6"),
    ),
    "--system e6 --ctc_target translation": (
        *("ctc_translation_bpe120", "ctc_translation_bpe120/compressed_frame_average", "llm"),
        *("st_e5_ctc_translation", "st_e6_ctc_translation", "st_e6_ctc_translation"),
    ),
    "--system e6 --from_features": (CTC, FRAMES, "llm", "st_e5_from_features", *["st_e6_from_features"] * 2),
    "--system e0 --from_features": (CTC, FRAMES, "llm", "", "st_e0", "st_e0"),
    "--system b2 --from_features": ("ctc_translation_bpe120", "", "llm", "", "st_b1", "st_b2"),
    "--system e6 --size small --seed 7 --llm some/big --ctc_target translation --from_features --tag t": (
        "ctc_translation_bpe120_small_seed7",
        "ctc_translation_bpe120_small_seed7/compressed_frame_average",
        "llm_big",
        "st_e5_small_seed7_big_ctc_translation_from_features_t",
        *["st_e6_small_seed7_big_ctc_translation_from_features_t"] * 2,
    ),
    "--system b2 --size small --seed 7 --llm some/big --ctc_target translation --tag t": (
        *("ctc_translation_bpe120_small_seed7", "", "llm_big", "", "st_b1_small_seed7_t"),
        "st_b2_small_seed7_big_ctc_translation_t",
    ),
}


@pytest.mark.parametrize("words", NAMES)
def test_what_a_result_depends_on_is_in_the_name_of_its_directory(mini_plan: MakePlan, words: str) -> None:
    layout = mini_plan(*words.split()).layout
    ctc, compressed, llm, init, base, system = NAMES[words]
    found = [layout.ctc_dir, layout.llm_dir, layout.init_dir, layout.base_dir, layout.system_dir]
    assert found == [name and f"exp/{name}" for name in (ctc, llm, init, base, system)]
    if compressed:
        assert layout.compressed_dir == f"exp/{compressed}"
    assert layout.preflight_dir == f"exp/preflight/{system}"


@pytest.mark.parametrize(
    ("words", "tokenizer", "stats"),
    [
        ("--system e6", "data/ctc_transcript_bpe120", "exp/stats_transcript_bpe120"),
        ("--system e6 --ctc_target translation", "data/ctc_translation_bpe120", "exp/stats_translation_bpe120"),
        ("--system e6 --ctc_units 080", "data/ctc_transcript_bpe80", "exp/stats_transcript_bpe80"),
        ("--system b1", "data/seq2seq_translation_bpe120", "exp/stats_seq2seq_translation_bpe120"),
        ("--system b1 --task asr", "data/seq2seq_transcript_bpe120", "exp/stats_seq2seq_transcript_bpe120"),
        ("--system b2 --target_units 60", "data/seq2seq_translation_bpe60", "exp/stats_seq2seq_translation_bpe60"),
        ("--system b1 --ctc_units 60", "data/seq2seq_translation_bpe120", "exp/stats_seq2seq_translation_bpe120"),
    ],
)
def test_units_are_named_by_what_they_are_of_and_how_many(
    mini_plan: MakePlan, words: str, tokenizer: str, stats: str
) -> None:
    layout = mini_plan(*words.split()).layout
    assert (layout.tokenizer, layout.stats_dir) == (f"{tokenizer}/bpe.model", stats)
    assert layout.cmvn == f"{stats}/cmvn.npz"


@pytest.mark.parametrize(
    ("words", "folder", "table", "learned"),
    [
        ("--system e6", f"exp/{FRAMES}", ("compressed.scp", "compressed"), ""),
        ("--system u", f"exp/{CTC}/compressed_units500", ("compressed.scp", "compressed"), "centroids.npz"),
        ("--system e6 --from_features", "dump", ("feats.scp", "speech"), ""),
        ("--system e0", "dump", ("feats.scp", "speech"), ""),
        ("--system d", "dump", ("feats.scp", "speech"), ""),
        ("--system b1", "dump", ("feats.scp", "speech"), ""),
    ],
)
def test_the_llm_reads_the_cache_where_there_is_one(
    mini_plan: MakePlan, words: str, folder: str, table: tuple[str, str], learned: str
) -> None:
    layout = mini_plan(*words.split()).layout
    assert layout.llm_input("dev") == f"{folder}/dev" and layout.llm_input("dev", "text") == f"{folder}/dev/text"
    assert layout.llm_input_table == table
    assert layout.learned_file == (f"{folder}/{learned}" if learned else "")


def test_hypotheses_are_named_by_set_beam_and_whether_they_are_the_controls(mini_plan: MakePlan) -> None:
    layout = mini_plan("--system", "b2", "--beam_size", "2").layout
    assert layout.decoded("test") == "exp/st_b2/decode_test_beam2" == decode_dir("exp/st_b2", "test", 2)
    assert layout.decoded("test", control=True) == "exp/st_b2/decode_test_beam2_control"
    assert layout.decoded_base("dev") == "exp/st_b1/decode_dev_beam2"
    assert layout.tuned == "exp/st_b2/rescoring_beam2.json"
    assert (layout.results, table_dir("exp")) == ("exp/RESULTS.md", "exp/table")


def test_every_path_is_below_the_folders_that_the_user_gives(mini_plan: MakePlan, tmp_path: Path) -> None:
    places = {name: f"{tmp_path}/{name}" for name in ("datadir", "dumpdir", "expdir", "downloads")}
    layout = mini_plan("--system", "e6", *(f"--{name}={place}" for name, place in places.items())).layout
    assert layout.data("train", "wav.scp") == f"{tmp_path}/datadir/train/wav.scp"
    assert layout.dump("train", "feats.scp") == f"{tmp_path}/dumpdir/train/feats.scp"
    assert layout.llm_text == f"{tmp_path}/downloads/llm_text.tsv"
    assert layout.corpus_report("test") == f"{tmp_path}/datadir/report.json"
    dirs = (layout.ctc_dir, layout.compressed_dir, layout.llm_dir, layout.init_dir, layout.system_dir, layout.results)
    assert all(path.startswith(f"{tmp_path}/expdir/") for path in dirs)


@pytest.mark.parametrize("words", [(), ("--frontend", "whisper_base"), ("--seed", "7")])
def test_git_ignores_what_a_run_writes(mini_plan: MakePlan, words: tuple[str, ...]) -> None:
    layout = mini_plan("--system", "e6", *words).layout
    written = (layout.data("train"), layout.dump("train"), layout.ctc_dir, layout.system_dir, layout.results)
    command = ["git", "check-ignore", *(f"{path}/file" for path in written)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode == 128:
        pytest.skip("this is no checkout of git")
    assert found.stdout.split() == command[2:]


def test_the_recipes_own_llm_is_that_of_llm_yaml_unless_another_is_given(mini_plan: MakePlan) -> None:
    own = mini_plan("--system", "e6").layout.llm
    assert own is not None and own.path == "conf/llm.yaml"
    assert mini_plan("--system", "e6", "--llm", "some/big").layout.llm is None
    assert mini_plan("--system", "d").layout.llm is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--system", "e5"), "--ctc_units is needed: conf/ctc.yaml has no ctc_units"),
        (("--system", "b9"), "--target_units is needed: conf/b9.yaml has no target_units"),
    ],
)
def test_a_yaml_without_units_is_said_before_anything_runs(
    own_plan: Callable[..., Plan], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        own_plan(*words, ctc="max_epoch: 1\n", b9="model: seq2seq\n")
