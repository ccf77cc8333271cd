"""Where a trained system is: a directory, a packed zip, or a repository on a hub.

exp/st_e6, packed.zip or organisation/name -> folder

What comes from elsewhere is only read: weights are safetensors, no file of a package is run as code, and none may lie
outside its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from speechllama.faults import InputError, MissingFileError, raise_all
from speechllama.hub import explain_hub_error
from speechllama.model.weights import PACKED_FILE

ORIGIN_FILE = ".unpacked_from"  # in an unpacked folder: size and time of the zip
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# What is fetched of a repository on a hub: all that a package holds, and no pickle or Python among it.
FETCHED = ("*.json", "*.yaml", "*.safetensors", "*.npz", "*.model", "*.txt", "*.jinja", "*.md", "LICENSE*")
# Settings of a package that are paths, in config.yaml, llm.json and rescoring.json; a hub id may stand for an LLM.
PLACES = ("llm_dir", "ctc_dir", "cmvn_file", "centroids_file", "tokenizer", "base", "path")


def find_folder(path: str | Path, revision: str | None = None) -> Path:
    """Find the folder of a trained system; fetch or unpack it if need be.

    Args:
        path: Experiment directory, packed zip, or the name of a repository on the hub, "organisation/name".
        revision: Branch, tag or commit of the repository; None: its main branch.

    Raises:
        FileNotFoundError: There is no such zip.
        ValueError: It is no packed model, holds what a packed model does not, or the hub refuses it.
    """
    if revision and (Path(path).exists() or not HUB_ID.fullmatch(str(path))):
        raise InputError(f"{path}: revision {revision} is of a repository on the hub, and this is none; leave it out")
    if Path(path).suffix == ".zip":
        return unpack(Path(path))
    if isinstance(path, str) and not Path(path).exists() and HUB_ID.fullmatch(path):
        return fetch(path, revision)
    return Path(path)


def fetch(name: str, revision: str | None = None) -> Path:
    """Fetch a packed model from the hub into its cache; what is there is not fetched again.

    Args:
        name: "organisation/name".
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        The folder in the cache.

    Raises:
        ValueError: The hub refuses it, or it is not what `speechllama.bin.export` puts there.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(FETCHED)))
    except Exception as error:  # of the network, of the hub, of a listing that is no listing: many kinds
        reason = explain_hub_error(error) or str(error)
        raise InputError(f"{name}: no such experiment or zip here, and not to be had from the hub: {reason}") from error
    check_package(folder, name)
    return folder


def check_package(folder: Path, name: str) -> None:
    """Refuse a package from elsewhere that lacks its weights, or that names files outside itself.

    Args:
        folder: Where it is.
        name: What to call it in messages.

    Raises:
        ValueError: It does; all faults are named.
    """
    for needed in ("config.yaml", PACKED_FILE):
        if not any((folder / place / needed).is_file() for place in (".", "base")):
            raise InputError(
                f"{name}: no {needed} there, so it is no model of speechllama (python3 -m speechllama.bin.export puts "
                "them there); weights in other forms, such as .pth and .bin, are not read from a hub"
            )
    faults = []
    for file in sorted([*folder.rglob("config.yaml"), *folder.rglob("llm.json"), *folder.glob("rescoring*.json")]):
        where = f"{name}: {file.relative_to(folder)}"
        try:
            settings = yaml.safe_load(file.read_text(encoding="utf-8"))  # which reads JSON, too
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            faults.append(f"{where}: not YAML ({error})")
            continue
        if not isinstance(settings, dict):
            faults.append(f"{where}: expected settings (key: value), found {type(settings).__name__}")
            continue
        faults += [f"{where}: {key}: {value!r} is outside the package" for key, value in _leaving(settings)]
    raise_all(faults, f"package {name}")


def _leaving(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """The paths among settings that leave their package; an LLM or a front end may be a hub id."""
    front_end = settings.get("frontend_conf") or {}
    found = [(key, str(settings.get(key) or "")) for key in PLACES]
    found += [("frontend_conf: path", str(front_end.get("path") or ""))] if isinstance(front_end, dict) else []
    return [(key, value) for key, value in found if value and not _is_inside(value)]


def _is_inside(name: str) -> bool:
    """Whether a path stays in the folder from which it counts, on any system."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_absolute = name.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", name)
    return bool(parts) and not is_absolute and ".." not in parts


def unpack(archive: Path) -> Path:
    """Unpack a zip next to itself, once; another zip in its place is unpacked again.

    Several processes may do so at the same time: each unpacks for itself, and the first one's folder stays.

    Raises:
        FileNotFoundError: There is no such zip.
        ValueError: It is no zip, or no packed model.
    """
    if not archive.is_file():
        raise MissingFileError(f"{archive}: no such packed model")
    folder, state = archive.with_suffix(".unpacked"), archive.stat()
    # mv and cp -p keep times, so a newer folder may still be of another zip.
    origin = f"{state.st_size} {state.st_mtime_ns}"
    if _is_of(folder, origin):
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            check_members(packed, archive)
            packed.extractall(partial)
        partial.joinpath(ORIGIN_FILE).write_text(origin)
        _put(partial, folder, origin)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(f"{archive}: not a packed model ({error}); pack it again (stage `pack`)") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _is_of(folder: Path, origin: str) -> bool:
    """Whether a folder was unpacked from the zip of that size and time."""
    mark = folder / ORIGIN_FILE
    return mark.is_file() and mark.read_text() == origin


def _put(partial: Path, folder: Path, origin: str) -> None:
    """Give an unpacked folder its name, unless another process was faster."""
    try:
        partial.rename(folder)
    except OSError:  # there is one
        if not _is_of(folder, origin):
            shutil.rmtree(folder)
            partial.rename(folder)


def check_members(packed: zipfile.ZipFile, archive: Path) -> None:
    """Refuse a zip that no packing of ours has made, before anything is written.

    Raises:
        ValueError: A member would be written elsewhere, is a link, comes twice, or they do not fit onto the disk.
    """
    faults, seen, size = [], set[str](), 0
    for member in packed.infolist():
        name = member.orig_filename
        if not _is_inside(name):
            faults.append(f"{archive}: {name!r} would be written outside its folder; this is no packed model")
        elif stat.S_ISLNK(member.external_attr >> 16):
            faults.append(f"{archive}: {name!r} is a link; this is no packed model")
        elif name in seen:
            faults.append(f"{archive}: {name!r} comes twice; this is no packed model")
        seen.add(name)
        size += member.file_size
    free = shutil.disk_usage(archive.resolve().parent).free
    if size > free:
        faults.append(f"{archive}: takes {size / 1e9:.1f} GB unpacked, and {free / 1e9:.1f} GB are free next to it")
    raise_all(faults, f"packed model {archive}")
