"""YAML settings: includes, nearest names, numbers that YAML takes for text."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.tasks.config_file import check_keys, read_config, resolve_includes


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
        ("include: a.yaml\n", "includes itself through"),
        ("include: b.yaml\n", "b.yaml: no such config, included by .*a.yaml"),
        ("optim_conf: {lr: 1e-3}\n", "a.yaml: optim_conf: lr: YAML reads 1e-3 as text"),
        ("- 1\n", "a.yaml: expected settings .*, found list"),
        ("a: [1\n", "a.yaml: not YAML"),
    ],
)
def test_faulty_files_are_refused_with_their_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_config(write(tmp_path / "a.yaml", text))
