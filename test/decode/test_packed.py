"""Where a system is: zips and repositories on a hub that are not ours are refused by name, and nothing of them runs."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.decode.packed import check_package, fetch, find_folder, unpack
from speechllama.model.weights import read_weights
from test.fake_hub import FakeHub


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("config.yaml")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("config.yaml", "a: 1")
    archive.writestr("config.yaml", "a: 2")


def huge(archive: zipfile.ZipFile) -> None:
    archive.writestr("config.yaml", "a: 1")
    archive.infolist()[0].file_size = 1 << 60


HOSTILE: list[tuple[Callable[[zipfile.ZipFile], None], str]] = [
    (lambda archive: archive.writestr("../evil.py", "x"), "'../evil.py' would be written outside its folder"),
    (lambda archive: archive.writestr("/tmp/evil.py", "x"), "'/tmp/evil.py' would be written outside"),
    (lambda archive: archive.writestr("a/../../evil.py", "x"), "'a/../../evil.py' would be written outside"),
    (lambda archive: archive.writestr("..\\evil.py", "x"), r"evil.py' would be written outside"),
    (lambda archive: archive.writestr("C:\\evil.py", "x"), r"evil.py' would be written outside"),
    (link, "'config.yaml' is a link; this is no packed model"),
    (twice, "'config.yaml' comes twice"),
    (huge, r"packed.zip: takes 1152921504.6 GB unpacked, and [\d.]+ GB are free next to it"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("write", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_a_hostile_zip_is_refused_by_name_before_anything_is_written(
    tmp_path: Path, write: Callable[[zipfile.ZipFile], None], message: str
) -> None:
    place = tmp_path / "inside"
    place.mkdir()
    with zipfile.ZipFile(place / "packed.zip", "w") as archive:
        write(archive)
    with pytest.raises(ValueError, match=message):
        unpack(place / "packed.zip")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["packed.zip"]


def test_a_damaged_zip_and_one_that_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "packed.zip").write_bytes(b"PK\3\4nothing")
    with pytest.raises(ValueError, match="packed.zip: not a packed model .*; pack it again"):
        unpack(tmp_path / "packed.zip")
    with pytest.raises(FileNotFoundError, match="other.zip: no such packed model"):
        find_folder(tmp_path / "other.zip")
    with pytest.raises(ValueError, match="packed.zip: revision v1 is of a repository on the hub, and this is none"):
        find_folder(tmp_path / "packed.zip", "v1")


def zip_text(path: Path, text: str) -> None:
    """Write a zip of one file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.yaml", text)


def test_another_zip_in_its_place_is_unpacked_whatever_its_time(tmp_path: Path) -> None:
    zip_text(tmp_path / "m.zip", "a: 1")
    zip_text(tmp_path / "other.zip", "a: 23")
    folder = unpack(tmp_path / "m.zip")
    before = folder.stat().st_ino
    assert unpack(tmp_path / "m.zip").stat().st_ino == before
    (tmp_path / "other.zip").rename(tmp_path / "m.zip")  # older than the folder
    assert (unpack(tmp_path / "m.zip") / "config.yaml").read_text() == "a: 23"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.unpacked", "m.zip"]


def test_processes_that_unpack_at_the_same_time_leave_each_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_text(tmp_path / "m.zip", "a: 1")
    extract = zipfile.ZipFile.extractall

    def while_another_unpacks(archive: zipfile.ZipFile, folder: Path) -> None:
        extract(archive, folder)
        monkeypatch.setattr(zipfile.ZipFile, "extractall", extract)
        monkeypatch.setattr(os, "getpid", lambda: 77)
        (unpack(tmp_path / "m.zip") / "loaded").touch()

    monkeypatch.setattr(zipfile.ZipFile, "extractall", while_another_unpacks)
    assert (unpack(tmp_path / "m.zip") / "loaded").is_file()  # the first one's folder stays
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.unpacked", "m.zip"]


class Evil:
    """What a pickle can hold."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("evil", "w")


def pickled() -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": Evil()}, stream)
    return stream.getvalue()


def test_weights_that_would_run_code_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (("model.pth", pickled()), ("model.pth", b"nothing"), ("model.safetensors", b"\xff" * 20)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: damaged, or no weights of a model"):
            read_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save([torch.zeros(2)], tmp_path / "model.pth")
    with pytest.raises(ValueError, match="model.pth: expected weights by name, found list"):
        read_weights(tmp_path)
    assert not (tmp_path / "evil").exists()


def good(**settings: object) -> dict[str, bytes]:
    """The least that looks like a packed model."""
    return {"config.yaml": yaml.safe_dump(settings).encode(), "model.safetensors": b"\2\0\0\0\0\0\0\0{}"}


BAD: list[tuple[dict[str, bytes], str]] = [
    ({"model.pth": pickled(), "config.yaml": b"{}"}, "no model.safetensors there, so it is no model of speechllama"),
    ({"config.json": b"{}", "model.safetensors": b""}, "org/bad: no config.yaml there"),
    (good(ctc_dir="/home/someone/ctc"), "config.yaml: ctc_dir: '/home/someone/ctc' is outside the package"),
    (good(llm_dir="../../llm", cmvn_file="~/cmvn.npz"), "2 faults of the package org/bad:.*\n.*llm_dir.*\n.*cmvn_file"),
    (good(frontend_conf={"path": "C:\\whisper"}), "frontend_conf: path: 'C:.*whisper' is outside the package"),
    ({**good(), "llm/llm.json": json.dumps({"path": "/llama"}).encode()}, "llm.json: path: '/llama' is outside"),
    ({**good(), "rescoring.json": b'{"base": "../b1"}'}, "rescoring.json: base: '../b1' is outside the package"),
    ({**good(), "config.yaml": b"!!python/object/apply:os.system ['touch evil']"}, "config.yaml: not YAML"),
    ({**good(), "config.yaml": b"- 1"}, r"config.yaml: expected settings \(key: value\), found list"),
]


@pytest.mark.parametrize(("files", "message"), BAD, ids=[message for _, message in BAD])
def test_a_page_that_is_no_package_is_refused_by_name(hub: FakeHub, files: dict[str, bytes], message: str) -> None:
    hub.add("org/bad", files)
    with pytest.raises(ValueError, match=message):
        find_folder("org/bad")


def test_code_and_pickles_of_a_page_are_not_even_fetched(hub: FakeHub) -> None:
    commit = hub.add("org/more", {**good(), "setup.py": b"x", "model.pth": pickled(), "llm/model.bin": b"x"})
    folder = find_folder("org/more")
    assert folder.name == commit
    assert sorted(path.name for path in folder.rglob("*")) == ["config.yaml", "model.safetensors"]


def test_a_page_cannot_write_outside_the_cache(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/bad", {**good(), "../../../../evil.json": b"{}"})
    with pytest.raises(ValueError, match="org/bad: no such experiment or zip here, and not to be had from the hub"):
        fetch("org/bad")
    assert not list(tmp_path.rglob("evil.json"))


def test_what_the_hub_does_not_know_may_have_been_meant_as_a_path(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/good", good())
    with pytest.raises(ValueError, match="exp/st_e6: no such experiment or zip here, .*the hub knows no such model"):
        find_folder("exp/st_e6")
    with pytest.raises(ValueError, match="org/good: .*the hub has no such revision of it"):
        find_folder("org/good", "v9")
    assert find_folder(Path("exp/st_e6")) == Path("exp/st_e6")  # a path is never asked for


def test_a_page_is_read_without_the_hub_once_it_was_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.add("org/good", good())
    folder = find_folder("org/good")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_folder("org/good") == folder
    with pytest.raises(ValueError, match="org/other: .*not on this machine, and the hub cannot be reached"):
        find_folder("org/other")


def test_numpy_files_of_a_package_hold_numbers_only(tmp_path: Path) -> None:
    from speechllama.model.build import read_cmvn

    np.savez(tmp_path / "cmvn.npz", mean=np.array([Evil()], dtype=object), std=np.ones(1))
    with pytest.raises(ValueError, match="cmvn.npz: expected numbers under mean, std .*allow_pickle"):
        read_cmvn(str(tmp_path / "cmvn.npz"))
    for name, data in good().items():
        (tmp_path / name).write_bytes(data)
    check_package(tmp_path, "a package")
