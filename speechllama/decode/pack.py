"""Pack a trained system of any kind into one zip that `Speech2Text.from_pretrained` reads anywhere.

exp/<system>/ -> config.yaml, model.pth, and what they are built on; the settings of the search -> <name>.zip
"""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from speechllama.decode.beam import SearchConfig
from speechllama.decode.experiment import find_path, read_settings
from speechllama.decode.nbest import MERGED, read_stamp
from speechllama.decode.systems import BASE, SEARCH_FILE, find_rescoring, rescored_folder, search_config
from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json
from speechllama.hub import WEIGHT_FILES
from speechllama.llm.record import LLM_FILE, read_llm_record
from speechllama.model.build import CONFIG_FILE, MODEL_FILE, front_end_path, is_seq2seq


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


def pack(exp_dir: str | Path, output: str | Path, include_llm: bool, decode_dir: str | Path | None = None) -> Path:
    """Pack a system into one zip that `Speech2Text.from_pretrained` reads anywhere.

    Args:
        exp_dir: The experiment, at stage `average` or later; of a rescoring system, at stage `tune`.
        output: The zip.
        include_llm: Put the LLM (small ones) and the weights of the front end into the zip; otherwise it has their
            paths or hub ids. For a local LLM that was fully trained, the zip has config and tokenizer in any case: the
            weights are the experiment's.
        decode_dir: A decoded set of the system, whose search the packed model keeps as its default; None: the one
            decoded last, or no search.

    Returns:
        The zip.

    Raises:
        FileNotFoundError: The experiment or one of its bases is not complete, or `decode_dir` is no decoded set.
        ValueError: The LLM should be packed, but only its hub id is known.
    """
    folder, output = Path(exp_dir), Path(output)
    search = decoded_search(folder, decode_dir)
    contents = _contents(folder, include_llm, search)
    if search is not None:
        contents.texts[SEARCH_FILE] = json.dumps(asdict(replace(search, nbest=1)), indent=2)
    missing = [str(file) for file, _ in contents.files if not file.is_file()]
    if missing:
        raise MissingFileError(f"{folder}: cannot be packed without {missing}; run the stages that write them")
    partial = output.with_name(f"{output.name}.tmp")
    with zipfile.ZipFile(partial, "w") as archive:
        for name, text in contents.texts.items():
            archive.writestr(name, text)
        for file, name in contents.files:
            archive.write(file, name)
    partial.replace(output)
    count = len(contents.files) + len(contents.texts)
    logging.info("%s: %d files, %.1f MB", output, count, output.stat().st_size / 1e6)
    return output


def decoded_search(folder: Path, decode_dir: str | Path | None) -> SearchConfig | None:
    """Read the search of a decoded set, by default of the one that was decoded last; None if there is none.

    Raises:
        FileNotFoundError: `decode_dir` is no decoded set.
    """
    found = sorted(folder.glob(f"decode_*/{MERGED}"), key=lambda path: path.stat().st_mtime)
    path = Path(decode_dir) / MERGED if decode_dir else (found or [None])[-1]
    if path is None:
        return None
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
    contents.files += files
    contents.texts[f"llm/{LLM_FILE}"] = json.dumps(record, indent=2)
    kept = {name: value for name, value in tuned.items() if name != "tried"}
    contents.texts["rescoring.json"] = json.dumps({**kept, "llm_dir": "llm", BASE: BASE}, indent=2)
    return contents


def _seq2seq_contents(folder: Path, include_weights: bool) -> Contents:
    """B1: its units are the only thing that its checkpoint lacks."""
    settings = read_settings(folder)
    contents = Contents(files=[(folder / MODEL_FILE, MODEL_FILE), (Path(settings["tokenizer"]), "bpe.model")])
    settings["tokenizer"] = "bpe.model"
    contents.files += pack_front_end(settings, include_weights)
    contents.texts[CONFIG_FILE] = yaml.safe_dump(settings, sort_keys=False)
    return contents


def _llm_contents(folder: Path, include_llm: bool) -> Contents:
    """A speech LLM: its encoder, or the statistics of one that it trains, its units and its LLM."""
    settings = read_settings(folder)
    files: list[tuple[Path, str]] = [(folder / MODEL_FILE, MODEL_FILE)]
    if settings.get("freeze_encoder"):
        files += [(Path(settings["ctc_dir"]) / name, f"ctc/{name}") for name in (CONFIG_FILE, MODEL_FILE)]
        settings["ctc_dir"] = "ctc"
    elif settings.get("cmvn_file"):
        files.append((Path(settings["cmvn_file"]), "cmvn.npz"))
        settings["cmvn_file"] = "cmvn.npz"
    if settings.get("centroids_file"):
        files.append((Path(settings["centroids_file"]), "centroids.npz"))
        settings["centroids_file"] = "centroids.npz"
    files += pack_front_end(settings, include_llm)
    llm_conf = settings.get("llm_conf") or {}
    record, llm_files = pack_llm(settings["llm_dir"], include_llm, has_weights=llm_conf.get("train") != "full")
    if llm_files and llm_conf.get("train") == "full":
        settings["llm_conf"] = {**llm_conf, "random_weights": True}  # all of them are in model.pth
    settings["llm_dir"] = "llm"
    config = yaml.safe_dump(settings, sort_keys=False)
    return Contents({CONFIG_FILE: config, f"llm/{LLM_FILE}": json.dumps(record, indent=2)}, files + llm_files)


def pack_front_end(settings: dict[str, Any], include_weights: bool) -> list[tuple[Path, str]]:
    """Return the files of a front end to pack, and write into the settings where it will be; a hub id stays."""
    folder = Path(front_end_path(settings) or "no weights")
    if not folder.is_dir():
        return []
    settings["frontend_conf"]["path"] = "frontend" if include_weights else str(folder.resolve())
    inside = sorted(file for file in folder.iterdir() if file.is_file()) if include_weights else []
    return [(file, f"frontend/{file.name}") for file in inside]


def pack_llm(llm_dir: str, include_llm: bool, has_weights: bool) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Return the LLM's record for the zip, and the files to pack with it.

    Args:
        llm_dir: Where llm.json is.
        include_llm: Whether the LLM goes inside.
        has_weights: False if the experiment's own weights replace the LLM's; a local LLM is then packed without them.
    """
    path, _ = read_llm_record(llm_dir)
    record = json.loads((Path(llm_dir) / LLM_FILE).read_text(encoding="utf-8"))
    folder = Path(path)
    if not include_llm and (has_weights or not folder.is_dir()):
        return {**record, "path": str(folder.resolve()) if folder.is_dir() else path}, []
    if not folder.is_dir():
        raise InputError(f"{path}: a hub id; only an LLM in a local directory can be packed with --include_llm true")
    name = folder.resolve().name
    inside = [file for file in sorted(folder.iterdir()) if file.is_file()]
    if not has_weights:
        inside = [file for file in inside if not any(file.match(kind) for kind in (*WEIGHT_FILES, "*.index.json"))]
    files = [(file, f"llm/{name}/{file.name}") for file in inside]
    return {**record, "path": name}, files
