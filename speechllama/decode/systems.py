"""Load a trained system of any kind, by what its folder holds.

exp/<system>/ or <name>.zip -> Speech2Text

config.yaml, model.pth                of a speech LLM, or with `model: seq2seq` of the encoder-decoder B1
rescoring_beam4.json                  B2: what stage tune wrote; it names the rescored system and the LLM
search.json                           of a packed model: the settings of the search that it was decoded with
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from speechllama.config import from_mapping
from speechllama.decode.experiment import load_experiment, read_settings
from speechllama.decode.joint_search import JointSearchConfig
from speechllama.decode.packed import find_folder
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.faults import InputError
from speechllama.files import find_path, read_json
from speechllama.model.build import is_seq2seq

SEARCH_FILE = "search.json"
RESCORING = "rescoring*.json"  # rescoring_beam4.json in an experiment, rescoring.json in a packed model
BASE = "base"  # where a packed model has the system that is rescored


def load_system(
    path: str | Path, device: str = "cpu", config: SearchConfig | None = None, revision: str | None = None
) -> Speech2Text:
    """Load a trained system; arguments and errors as of `Speech2Text.from_pretrained`."""
    folder = find_folder(path, revision)
    config = config or read_search(folder)
    tuned = find_rescoring(folder, config)
    if tuned is not None:
        return _load_rescored(tuned, device, config)
    if is_seq2seq(folder):
        from speechllama.decode.seq2seq2text import Seq2SeqToText
        from speechllama.train.seq2seq import load_seq2seq

        settings = read_settings(folder)
        return Seq2SeqToText(load_seq2seq(folder, device, settings), folder, settings, config)
    from speechllama.decode.speech_llama2text import SpeechLlamaToText

    return SpeechLlamaToText(load_experiment(folder, device), config)


def read_search(folder: Path) -> SearchConfig | None:
    """Read the settings of the search that a packed model keeps; None in other folders.

    Raises:
        ValueError: They are not settings of a search.
    """
    path = folder / SEARCH_FILE
    return search_config(read_json(path), str(path)) if path.is_file() else None


def search_config(values: Mapping[str, Any], where: str) -> SearchConfig:
    """Make settings of a search of what a file says: of the joint search, if it has a weight of CTC."""
    kind = JointSearchConfig if "ctc_weight" in values else SearchConfig
    return from_mapping(kind, values, where)


def change_search(config: SearchConfig, values: Mapping[str, Any]) -> SearchConfig:
    """Change some settings of a search.

    Raises:
        ValueError: The search of this system has no such setting.
    """
    unknown = sorted(set(values) - set(asdict(config)))
    if unknown:
        raise InputError(f"--{unknown[0]} {values[unknown[0]]} is for encoder-decoders, and this system is none")
    return replace(config, **values)


def find_rescoring(folder: Path, config: SearchConfig | None = None) -> Path | None:
    """Find what stage tune wrote into a folder: that of the config's beam, else the newest; None without any.

    A weight that was tuned on a part of the dev set (`--subset`) is taken only where there is no other.
    """
    found = sorted(folder.glob(RESCORING), key=lambda path: ("_subset" not in path.name, path.stat().st_mtime))
    fitting = [path for path in found if config and tuned_beam(path) == config.beam_size]
    chosen = fitting or found
    return chosen[-1] if chosen else None


def tuned_beam(path: Path) -> int | None:
    """Say for which beam a weight was tuned, by the name of the file; None of a packed model's."""
    match = re.search(r"_beam(\d+)(_subset\d+)?\.json$", path.name)
    return int(match.group(1)) if match else None


def rescored_folder(tuned: Mapping[str, Any], folder: Path) -> Path:
    """Find the system that is rescored: the weight was tuned on one of its decoded sets."""
    base = str(tuned.get(BASE) or Path(str(tuned.get("tuned_on") or "")).parent)
    return Path(find_path(base, folder))


def _load_rescored(path: Path, device: str, config: SearchConfig | None) -> Speech2Text:
    """Load B2.

    Raises:
        ValueError: The file is not what stage tune writes.
    """
    from speechllama.decode.rescored2text import RescoredToText, Rescoring
    from speechllama.decode.text_scorer import BATCH_TOKENS, load_text_scorer

    tuned = read_json(path)
    needed = ("weight", "length_norm", "llm_dir", "task", "prompted", "prompt_conf")
    missing = [name for name in needed if name not in tuned]
    if missing or not (tuned.get(BASE) or tuned.get("tuned_on")):
        raise InputError(f"{path}: no {', '.join(missing or ['tuned_on'])}; run stage `decode` of this system again")
    base = load_system(rescored_folder(tuned, path.parent), device, config)
    config = config or replace(base.config, beam_size=tuned_beam(path) or base.config.beam_size)
    llm_dir = find_path(str(tuned["llm_dir"]), path.parent)
    scorer = load_text_scorer({**tuned, "llm_dir": llm_dir}, device, BATCH_TOKENS)
    return RescoredToText(base, Rescoring(scorer, tuned["weight"], tuned["length_norm"]), config)
