"""YAML settings: includes, nearest names, numbers that YAML takes for text."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.config import find_config, load_config, read_config
from speechllama.train.options import check_keys, resolve_includes


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_own_keys_replace_included_ones_level_by_level(tmp_path: Path) -> None:
    write(tmp_path / "train.yaml", "max_epoch: 9\noptim_conf: {lr: 0.1, weight_decay: 0.2}\n")
    path = write(tmp_path / "e5.yaml", "include: train.yaml\noptim_conf: {lr: 0.3}\ncompressor: none\n")
    assert read_config(path) == {
        "max_epoch": 9,
        "optim_conf": {"lr": 0.3, "weight_decay": 0.2},
        "compressor": "none",
    }


def test_the_host_gets_the_merged_file_and_it_stays_for_the_record(tmp_path: Path) -> None:
    write(tmp_path / "train.yaml", "max_epoch: 9\n")
    path = write(tmp_path / "e5.yaml", "include: train.yaml\n")
    cmd = resolve_includes(["--config", str(path), "--output_dir", str(tmp_path / "exp")])
    assert cmd[-2:] == ["--config", str(tmp_path / "exp" / "train.yaml")]
    assert read_config(cmd[-1]) == {"max_epoch": 9}


def test_a_misspelt_key_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path / "e5.yaml", "compresor: none\n")
    with pytest.raises(ValueError, match=r"e5.yaml: unknown key 'compresor'; did you mean 'compressor'\?"):
        check_keys(["--config", str(path)], {"compressor", "prefix_mask"})


def test_all_misspelt_keys_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "e5.yaml", "compresor: none\nmask: causal\n")
    with pytest.raises(ValueError, match=r"unknown key 'compresor'; did you .*; unknown key 'mask'"):
        check_keys(["--config", str(path)], {"compressor", "prefix_mask"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: a.yaml\n", "a.yaml: includes itself, and no folder after .* has another a.yaml"),
        ("include: b.yaml\n", "b.yaml: no such config, included by .*a.yaml"),
        ("optim_conf: {lr: 1e-3}\n", "a.yaml: optim_conf: lr: YAML reads 1e-3 as text"),
        ("- 1\n", "a.yaml: expected settings .*, found list"),
        ("a: [1\n", "a.yaml: not YAML"),
    ],
)
def test_faulty_files_are_refused_with_their_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_config(write(tmp_path / "a.yaml", text))


def test_an_include_takes_the_first_folder_that_has_it_and_a_namesake_the_next_one(tmp_path: Path) -> None:
    small, own, shared = folders = [tmp_path / name for name in ("small", "own", "shared")]
    for folder in folders:
        folder.mkdir()
    write(shared / "e5.yaml", "include: [train.yaml, mask.yaml]\ncompressor: frame_average\n")
    write(shared / "train.yaml", "max_epoch: 1\nseed: 1\noptim_conf: {lr: 1.0, eps: 2.0}\n")
    write(own / "train.yaml", "include: train.yaml\nmax_epoch: 2\noptim_conf: {lr: 3.0}\n")
    write(small / "mask.yaml", "prefix_mask: causal\nseed: 7\n")
    loaded = load_config(shared / "e5.yaml", folders)
    optim = {"lr": 3.0, "eps": 2.0}
    expected = {"max_epoch": 2, "seed": 7, "optim_conf": optim, "prefix_mask": "causal", "compressor": "frame_average"}
    assert loaded.settings == expected
    read = [shared / "e5.yaml", own / "train.yaml", shared / "train.yaml", small / "mask.yaml"]
    assert list(loaded.files) == read
    assert find_config("train.yaml", [small, own]) == own / "train.yaml" and find_config("x.yaml", folders) is None


def test_a_circle_of_includes_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "include: b.yaml\n")
    write(tmp_path / "b.yaml", "include: a.yaml\n")
    with pytest.raises(ValueError, match=r"a.yaml: includes itself through .*a.yaml -> .*b.yaml"):
        read_config(tmp_path / "a.yaml")
