"""Pack a trained system of any kind into one folder, or one zip of it, that `Speech2Text` reads anywhere.

exp/<system>/ -> folder: config.yaml, model.safetensors, what they are built on, search.json, README.md -> <name>.zip
"""

from __future__ import annotations

import json
import logging
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from shutil import copyfile
from typing import Any

import yaml

from speechllama.decode.experiment import read_settings
from speechllama.decode.nbest import MERGED, read_stamp
from speechllama.decode.packed import FETCHED, check_package
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.systems import BASE, SEARCH_FILE, find_rescoring, rescored_folder, search_config
from speechllama.decode.units import find_units, unit_files
from speechllama.faults import InputError, MissingFileError
from speechllama.files import atomic_write, find_path, read_json, writing
from speechllama.hub import WEIGHT_FILES
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.model.build import CONFIG_FILE, front_end_path, is_seq2seq
from speechllama.model.build import read_settings as read_config_file
from speechllama.model.weights import MODEL_FILE, PACKED_FILE, weights_path, write_weights
from speechllama.share.card import write_card
from speechllama.share.facts import collect_facts
from speechllama.share.folders import new_folder
from speechllama.text.tasks import trained_task

CARD_FILE = "README.md"
# Settings of a training that name its machine's places, and that no decoding reads.
OF_TRAINING = ("config", "conf_path", "output_dir", "init_from", "init_adapter", "dist_init_method")
DATA = ("train_data_", "valid_data_", "train_shape", "valid_shape")


@dataclass
class Contents:
    """What goes into a zip.

    Attributes:
        texts: Files that are written for it, by their names inside.
        files: Files that are copied, with their names inside.
    """

    texts: dict[str, str] = field(default_factory=dict)
    files: list[tuple[Path, str]] = field(default_factory=list)

    def include(self, other: Contents, folder: str) -> None:
        """Add another's files in a folder."""
        self.texts |= {f"{folder}/{name}": text for name, text in other.texts.items()}
        self.files += [(file, f"{folder}/{name}") for file, name in other.files]


@dataclass(frozen=True)
class PackOptions:
    """What a package gets besides the system.

    Attributes:
        include_llm: Put the LLM (small ones) and the weights of the front end inside; otherwise it has their paths or
            hub ids. Of a local LLM that was fully trained, config and tokenizer are inside in any case: the weights are
            the experiment's.
        decode_dir: A decoded set of the system, whose search the packed model keeps as its default; None: the one
            decoded last, or no search.
        licence: Of the package; "": that of the LLM, if its page names one.
    """

    include_llm: bool = False
    decode_dir: str | Path | None = None
    licence: str = ""


def pack(exp_dir: str | Path, output: str | Path, options: PackOptions) -> Path:
    """Pack a system into one zip that `Speech2Text.from_pretrained` reads anywhere: the folder of `write_package`.

    Args:
        exp_dir: The experiment, at stage `average` or later; of a rescoring system, at stage `tune`.
        output: The zip.
        options: What it gets besides.

    Returns:
        The zip.

    Raises:
        FileNotFoundError, ValueError: As `write_package`.
    """
    output = Path(output)
    partial = output.with_name(f"{output.name}.tmp")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        with writing(output):
            files = write_package(exp_dir, Path(scratch), output.name, options, copy=_link)
        with writing(output), zipfile.ZipFile(partial, "w") as archive:
            for name in files:
                archive.write(Path(scratch, name), name)
    partial.replace(output)
    logging.info("%s: %d files, %.1f MB", output, len(files), output.stat().st_size / 1e6)
    return output


def write_package(
    exp_dir: str | Path, folder: Path, name: str, options: PackOptions, copy: Callable[[Path, Path], object] = copyfile
) -> list[str]:
    """Write a system as one folder, which needs nothing outside itself but an LLM that stays outside.

    Weights are safetensors, and README.md is written from the reports of the experiment.

    Args:
        exp_dir: The experiment, at stage `average` or later; of a rescoring system, at stage `tune`.
        folder: An empty folder.
        name: What README.md calls it: the name of a zip, or of a repository on the hub.
        options: What it gets besides.
        copy: Brings a file that is already as it should be to its place.

    Returns:
        The files' names in the folder, sorted.

    Raises:
        FileNotFoundError: The experiment or one of its bases is not complete, or `decode_dir` is no decoded set.
        ValueError: The LLM should be packed, but only its hub id is known.
    """
    source = Path(exp_dir)
    search = decoded_search(source, options.decode_dir)
    contents = _contents(source, options.include_llm, search)
    if search is not None:
        contents.texts[SEARCH_FILE] = json.dumps(asdict(replace(search, nbest=1)), indent=2)
    missing = [str(file) for file, _ in contents.files if not file.is_file()]
    if missing:
        raise MissingFileError(f"{source}: cannot be packed without {missing}; run the stages that write them")
    contents.texts[CARD_FILE] = write_card(collect_facts(source, name, options.licence))
    for inside, text in contents.texts.items():
        with atomic_write(folder / inside) as stream:
            stream.write(text)
    for file, inside in contents.files:
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name == PACKED_FILE and file.name == MODEL_FILE:
            write_weights(file.parent, target)
        else:
            copy(file, target)
    return sorted([*contents.texts, *(inside for _, inside in contents.files)])


def write_repository(exp_dir: str | Path, output: str | Path, name: str, options: PackOptions) -> None:
    """Write a system as the folder that a repository on the hub shows.

    Args:
        exp_dir: As for `write_package`.
        output: Directory, new or empty.
        name: Of the repository, "organisation/name".
        options: What it gets besides; all it needs must be inside, or have a hub id.

    Raises:
        FileNotFoundError, ValueError: As `write_package`; something would stay outside, or would not be read from a
            hub; or the directory holds something.
    """
    with new_folder(output) as folder:
        files = write_package(exp_dir, folder, name, options)
        unread = [file for file in files if not any(fnmatch(file, kind) for kind in FETCHED)]
        if unread:
            raise InputError(
                f"{exp_dir}: {', '.join(unread)} would not be read from a hub, where only safetensors are; an LLM with "
                "other weights stays outside: prepare it by its hub id (--llm ORGANISATION/NAME)"
            )
        try:
            check_package(folder, str(exp_dir))
        except ValueError as error:
            raise InputError(
                f"{error}. On another machine it is not there: give --include_llm true, or prepare the LLM and the "
                "front end by their hub ids"
            ) from error
    logging.info("%s: the repository %s, %d files", output, name, len(files))


def _link(source: Path, target: Path) -> None:
    """Stand for a file that a zip copies a moment later."""
    target.symlink_to(source.resolve())


def decoded_search(folder: Path, decode_dir: str | Path | None) -> SearchConfig | None:
    """Read the search of a decoded set, by default of the one that was decoded last; None if there is none.

    Raises:
        FileNotFoundError: `decode_dir` is no decoded set.
    """
    found = sorted(folder.glob(f"decode_*/{MERGED}"), key=lambda path: path.stat().st_mtime)
    if not decode_dir and not found:
        return None
    path = Path(decode_dir) / MERGED if decode_dir else found[-1]
    stamp = read_stamp(path)
    return search_config(stamp.get("rescored", stamp)["search"], str(path))  # a rescored set has its system's stamp


def _contents(folder: Path, include_llm: bool, search: SearchConfig | None = None) -> Contents:
    """What a system of any kind needs."""
    tuned = find_rescoring(folder, search)
    if tuned is not None:
        return _rescoring_contents(tuned, include_llm)
    return _seq2seq_contents(folder, include_llm) if is_seq2seq(folder) else _llm_contents(folder, include_llm)


def _rescoring_contents(path: Path, include_llm: bool) -> Contents:
    """B2: the system that is rescored, in a folder of its own, what was tuned, and the LLM."""
    tuned = read_json(path)
    contents = Contents()
    contents.include(_contents(rescored_folder(tuned, path.parent), include_llm), BASE)
    record, files = pack_llm(find_path(tuned["llm_dir"], path.parent), include_llm, has_weights=True)
    packed = {file for file, _ in contents.files}
    llm_dir = f"{BASE}/llm" if files and all(file in packed for file, _ in files) else "llm"  # both have the same LLM
    if llm_dir == "llm":
        contents.files += files
        contents.texts[f"llm/{LLM_FILE}"] = json.dumps(record, indent=2)
    kept = {name: value for name, value in tuned.items() if name != "tried"}
    contents.texts["rescoring.json"] = json.dumps({**kept, "llm_dir": llm_dir, BASE: BASE}, indent=2)
    return contents


def _seq2seq_contents(folder: Path, include_weights: bool) -> Contents:
    """B1: its units are the only thing that its checkpoint lacks."""
    settings = read_settings(folder)
    contents = Contents(files=[(weights_path(folder), PACKED_FILE), (Path(settings["tokenizer"]), "bpe.model")])
    settings["tokenizer"] = "bpe.model"
    contents.files += pack_front_end(settings, include_weights)
    task = trained_task(settings)  # by its training data, which stay here
    named = {"task_name": task.name} if task else {}
    contents.texts[CONFIG_FILE] = _portable({**settings, **named, "cmvn_file": None})
    return contents


def _llm_contents(folder: Path, include_llm: bool) -> Contents:
    """A speech LLM: its encoder, or the statistics of one that it trains, its units and its LLM."""
    settings = read_settings(folder)
    files: list[tuple[Path, str]] = [(weights_path(folder), PACKED_FILE)]
    texts: dict[str, str] = {}
    if settings.get("freeze_encoder"):
        files.append((weights_path(settings["ctc_dir"]), f"ctc/{PACKED_FILE}"))
        units = find_units(settings)
        files += [(file, f"ctc/{file.name}") for file in unit_files(settings)]  # for pictures only
        ctc = read_config_file(settings["ctc_dir"])
        settings["ctc_dir"] = "ctc"
    elif settings.get("cmvn_file"):
        files.append((Path(settings["cmvn_file"]), "cmvn.npz"))
        settings["cmvn_file"] = "cmvn.npz"
    if settings.get("centroids_file"):
        files.append((Path(settings["centroids_file"]), "centroids.npz"))
        settings["centroids_file"] = "centroids.npz"
    files += pack_front_end(settings, include_llm)
    if settings.get("freeze_encoder"):
        of_package = {"tokenizer": units.name if units else None, "frontend_conf": settings.get("frontend_conf")}
        texts[f"ctc/{CONFIG_FILE}"] = _portable({**ctc, **of_package, "cmvn_file": None})
    llm_conf = settings.get("llm_conf") or {}
    record, llm_files = pack_llm(settings["llm_dir"], include_llm, has_weights=llm_conf.get("train") != "full")
    if llm_files and llm_conf.get("train") == "full":
        settings["llm_conf"] = {**llm_conf, "without_weights": True}  # all weights are in model.pth
    settings["llm_dir"] = "llm"
    texts |= {CONFIG_FILE: _portable(settings), f"llm/{LLM_FILE}": json.dumps(record, indent=2)}
    return Contents(texts, files + llm_files)


def _portable(settings: dict[str, Any]) -> str:
    """Write config.yaml without what names places of the training's machine."""
    kept = {name: value for name, value in settings.items() if name not in OF_TRAINING}
    return yaml.safe_dump({name: value for name, value in kept.items() if not name.startswith(DATA)}, sort_keys=False)


def pack_front_end(settings: dict[str, Any], include_weights: bool) -> list[tuple[Path, str]]:
    """Return the files of a front end to pack, and write into the settings where it will be; a hub id stays."""
    folder = Path(front_end_path(settings) or "no weights")
    if not folder.is_dir():
        return []
    settings["frontend_conf"]["path"] = "frontend" if include_weights else str(folder.resolve())
    inside = _model_files(folder) if include_weights else []
    return [(file, f"frontend/{file.name}") for file in inside]


def _model_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face directory that loading may read; code is not among them."""
    kinds = (*FETCHED, *WEIGHT_FILES)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if any(fnmatch(file.name, kind) for kind in kinds)]


def pack_llm(llm_dir: str, include_llm: bool, has_weights: bool) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Return the LLM's record for the zip, and the files to pack with it.

    Args:
        llm_dir: Where llm.json is.
        include_llm: Whether the LLM goes inside.
        has_weights: False if the experiment's own weights replace the LLM's; a local LLM is then packed without them.
    """
    path, _ = read_llm_record(llm_dir)
    record = read_json(Path(llm_dir) / LLM_FILE)
    folder = Path(path)
    if not include_llm and (has_weights or not folder.is_dir()):
        return {**record, "path": str(folder.resolve()) if folder.is_dir() else path}, []
    if not folder.is_dir():
        raise InputError(f"{path}: a hub id; only an LLM in a local directory can be packed with --include_llm true")
    name = folder.resolve().name
    inside = _model_files(folder)
    if not has_weights:
        inside = [file for file in inside if not any(file.match(kind) for kind in (*WEIGHT_FILES, "*.index.json"))]
    files = [(file, f"llm/{name}/{file.name}") for file in inside]
    return {**record, "path": name}, files
