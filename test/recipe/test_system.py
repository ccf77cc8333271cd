"""What a YAML says of a system, read as YAML is; and the YAML files that contradict themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.options import UsageError
from speechllama.recipe.plan import Plan
from speechllama.recipe.system import TEMPLATE_CONF, ConfFolders, Selection, select_system
from test.recipe.conftest import EGS


@pytest.fixture
def select(make_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Selection]:
    """Select a system of a recipe whose conf has these files."""

    def make(name: str, **confs: str) -> Selection:
        monkeypatch.chdir(make_recipe(**confs))
        return select_system(name, ConfFolders())

    return make


# System of TEMPLATE -> encoder-decoder or not, what it starts from, LLM of its own, frozen encoder, cached, compressor.
SYSTEMS = {
    "b1": (True, "", "", False, False, "frame_average"),
    "d": (False, "", "decoder", False, False, "none"),
    "e0": (False, "", "", False, False, "convolution"),
    "e1": (False, "", "", True, True, "blank_removal"),
    "e5": (False, "", "", True, True, "frame_average"),
    "e6": (False, "e5", "", True, True, "frame_average"),
    "u_frozen": (False, "", "", True, True, "units"),
    "u": (False, "u_frozen", "", True, True, "units"),
    "l_gate_frozen": (False, "", "", True, True, "posteriors"),
    "l": (False, "l_frozen", "", True, True, "posteriors"),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_what_its_yaml_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EGS / "mini_covost2")
    selection = select_system(name, ConfFolders())
    system = selection.system
    found = (system.is_seq2seq, system.init.name if system.init else "", system.scratch_llm, system.freezes_encoder)
    assert (*found, system.is_cached, system.compressor.name) == SYSTEMS[name]
    assert selection.name == system.name == name and selection.rescoring is None
    assert selection.needs_llm is (name != "b1") and selection.scratch_llm == system.scratch_llm


def test_a_rescoring_system_trains_and_decodes_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EGS / "mini_covost2")
    selection = select_system("b2", ConfFolders())
    assert (selection.name, selection.system.name) == ("b2", "b1")
    assert selection.rescoring is not None and selection.rescoring.path == "../TEMPLATE/conf/b2.yaml"
    assert selection.needs_llm and selection.system.is_seq2seq


@pytest.mark.parametrize(
    ("yaml", "label"),
    [
        ("compressor: frame_average\n", "frame_average"),
        ("'compressor': \"frame_average\"  # quoted\n", "frame_average"),
        ("compressor_conf: {drop_blank_runs: yes}\n", "frame_average_no_blanks"),
        ("compressor_conf:\n  drop_blank_runs: on\n", "frame_average_no_blanks"),
        ("compressor_conf: {drop_blank_runs: no, max_compressed_length: null}\n", "frame_average"),
        ("compressor_conf: {max_compressed_length: ~}\n", "frame_average"),
        ('"compressor_conf": {"max_compressed_length": 0x40}\n', "frame_average_max64"),
        ("compressor_conf: {max_compressed_length: 64, drop_blank_runs: true}\n", "frame_average_no_blanks_max64"),
        ("{compressor: blank_removal, compressor_conf: {max_compressed_length: 9}}\n", "blank_removal_max9"),
        ("compressor: units\ncompressor_conf: {num_clusters: 5_00}\n", "units500"),
        ("compressor: posteriors\ncompressor_conf: {temperature: 0.5, keep_states: yes}\n", "posteriors32_states"),
        ("compressor_conf:\n", "frame_average"),
        ("prompt_conf: {template: 'compressor: none {audio}'}\n", "frame_average"),
    ],
)
def test_settings_of_a_compressor_are_read_as_yaml_is(own_plan: Callable[..., Plan], yaml: str, label: str) -> None:
    plan = own_plan("--system", "mine", mine=yaml)
    assert plan.layout.compressed_dir == f"exp/ctc_transcript_bpe500/compressed_{label}"
    assert plan.selection.system.is_cached


@pytest.mark.parametrize(
    ("yaml", "is_frozen"),
    [("freeze_encoder: no\n", False), ("'freeze_encoder': off\n", False), ("freeze_encoder: yes\n", True), ("", True)],
)
def test_a_frozen_encoder_is_read_as_yaml_is(select: Callable[..., Selection], yaml: str, is_frozen: bool) -> None:
    system = select("mine", mine=f"compressor: none\n{yaml}").system
    assert system.freezes_encoder is is_frozen and not system.is_cached


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("compressor: frames\n", "conf/mine.yaml: unknown compressor 'frames', expected one of blank_removal, "),
        ("compressor: units\n", "conf/mine.yaml: compressor_conf: num_clusters is 0"),
        ("compressor: units\ncompressor_conf: {num_clusters: many}\n", "num_clusters: expected int, found 'many'"),
        ("compressor: posteriors\ncompressor_conf: {temperature: 0}\n", "mine.yaml: compressor_conf: temperature 0"),
        ("compressor_conf: {drop_blanks: yes}\n", "compressor_conf: unknown key 'drop_blanks'; did you mean 'drop_b"),
        ("compressor_conf: {max_compressed_length: 0}\n", "max_compressed_length 0 must be at least 1, or null"),
        ("compressor_conf: yes\n", r"compressor_conf: expected settings \(key: value\), found True"),
        ("freeze_encoder: no\n", "the compressor frame_average needs a trained CTC encoder, and freeze_encoder is"),
        ("freeze_encoder: 'false'\n", "mine.yaml: freeze_encoder: expected true or false, found 'false'"),
        ("compressor: convolution\n", "the compressor convolution needs freeze_encoder: false trains an encoder"),
        ("scratch_llm: decoder\ncompressor: none\n", "mine.yaml: scratch_llm needs freeze_encoder: false trains"),
        (
            "drop_blank_runs: yes\nmax_compressed_length: 9\n",
            "settings of the compressor are in compressor_conf: {drop_blank_runs: True, max_compressed_length: 9}",
        ),
        ("init_system: e7\n", "no system 'e7'; in conf:.*TEMPLATE/conf there are: .*b1 .*mine"),
        ("scratch_llm: big\nfreeze_encoder: no\ncompressor: none\n", "scratch_llm names big.yaml, which is not in"),
        ("rescore_system: b2\n", "mine.yaml: rescore_system b2 rescores b1 itself; name a system that is trained"),
        ("rescore_system: d\n", "mine.yaml: rescore_system d has no LLM but its own decoder"),
        ("rescore_system: e7\n", "no system 'e7'"),
        ("max_epoch: 1e-3\n", "mine.yaml: max_epoch: YAML reads 1e-3 as text"),
        ("include: trian.yaml\n", "trian.yaml: no such config, included by conf/mine.yaml"),
        ("a: {b\n", "mine.yaml: not YAML"),
    ],
)
def test_a_yaml_that_contradicts_itself_is_refused(select: Callable[..., Selection], yaml: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select("mine", mine=yaml)


def test_an_unknown_system_is_refused_with_those_that_there_are(select: Callable[..., Selection]) -> None:
    with pytest.raises(UsageError, match="no system 'yours'; in conf:.*TEMPLATE/conf there are: .*b1 .*mine"):
        select("yours", mine="")


def test_a_fault_of_the_first_system_is_one_of_the_lora_system(select: Callable[..., Selection]) -> None:
    with pytest.raises(UsageError, match="first.yaml: unknown compressor 'x'"):
        select("mine", mine="init_system: first\n", first="compressor: x\n")


def test_the_first_folder_that_has_a_yaml_counts(
    make_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_recipe(small__e5="seed: 3\n", e6="seed: 4\n"))
    folders = ConfFolders("small")
    template = folders.folders[-1]
    assert template.resolve() == TEMPLATE_CONF
    assert folders.folders == [Path("conf/small"), template / "small", Path("conf"), template]
    assert folders.conf_path == f"conf/small:{template}/small:conf:{template}"
    found = [folders.read(name).path for name in ("e5", "ctc", "e6", "e3")]
    assert found == ["conf/small/e5.yaml", f"{template}/small/ctc.yaml", "conf/e6.yaml", f"{template}/e3.yaml"]
    assert folders.has("e5") and not folders.has("e7")
    with pytest.raises(UsageError, match="no size 'tiny': there is no .*recipe/conf/tiny, nor .*TEMPLATE/conf/tiny"):
        ConfFolders("tiny")


def test_a_yaml_is_all_the_files_that_it_was_read_from(
    make_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_recipe(mine="include: [a.yaml, cpu.yaml]\n", a="max_epoch: 2\n"))
    config = ConfFolders().read("mine")
    names = [Path(file).name for file in config.files]
    assert names[:3] == ["mine.yaml", "a.yaml", "cpu.yaml"] and config.settings["max_epoch"] == 2


@pytest.mark.parametrize(
    ("yaml", "given", "seed", "suffix"),
    [
        ("", "", 1, ""),
        ("", "1", 1, ""),
        ("", "7", 7, "_seed7"),
        ("seed: 3\n", "", 3, ""),
        ("seed: 3\n", "3", 3, ""),
        ("seed: 3\n", "1", 1, "_seed1"),
    ],
)
def test_the_seed_is_the_users_or_the_yamls_and_only_another_is_in_the_name(
    select: Callable[..., Selection], yaml: str, given: str, seed: int, suffix: str
) -> None:
    config = select("mine", mine=yaml).system.config
    assert (config.seed(given), config.seed_suffix(given)) == (seed, suffix)
