"""The record of the LLM a recipe uses: checked once, named by every experiment.

path or hub id -> <llm_dir>/llm.json
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json, write_json
from speechllama.hub import fingerprint, resolve_commit
from speechllama.llm.admission import admit
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.peak_memory import PeakMemory

LLM_FILE = "llm.json"


def prepare_llm(
    path: str,
    revision: str | None,
    llm_dir: str | Path,
    more: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Load an LLM and its tokenizer once, check that they fit, test what it can be used for, and record them.

    It is loaded in bfloat16 whatever the device: one copy of the weights, in half the memory of float32. The test
    computes in float32, on a few layers of a large LLM; see `admit`. An LLM that has sdpa is tested with eager, too,
    which a system's `llm_conf` may ask for.

    Args:
        path: Local directory or hub id; a directory inside `llm_dir` is recorded relative to it.
        revision: Revision on the hub.
        llm_dir: Where llm.json goes.
        more: Further entries of the record.
        device: Where it is loaded, and whose memory is reported.

    Returns:
        The record: path, revision (of a hub id the whole commit, so that the LLM cannot change under the experiments),
        fingerprint, sizes, load time and memory, the prefix masks that it is admitted for, with sdpa and eager.

    Raises:
        FileNotFoundError, ValueError: It is no causal LM, its tokenizer does not fit, the hub refuses it, or it is not
            admitted.
    """
    folder = Path(llm_dir)
    tokenizer = load_tokenizer(path, revision)
    memory = PeakMemory(device)
    start = time.perf_counter()
    llm = LLM(LLMConfig(path=path, revision=revision, dtype="bfloat16"), device)
    seconds = time.perf_counter() - start
    inside = Path(path).resolve().is_relative_to(folder.resolve())
    local = Path(path).is_dir()
    record: dict[str, Any] = {
        "path": os.path.relpath(path, folder) if inside else str(Path(path).resolve()) if local else path,
        "revision": resolve_commit(path, revision) or revision,
        "fingerprint": fingerprint(path, revision).hex(),
        "architecture": type(llm.model).__name__,
        "attention": llm.text_config._attn_implementation,
        "num_parameters": sum(parameter.numel() for parameter in llm.parameters()),
        "width": llm.dim,
        "num_tokens": len(tokenizer),
        "has_start_token": tokenizer.bos_token_id is not None,
        "load_seconds": round(seconds, 2),
        "weights_gb": round(sum(weight.nbytes for weight in llm.parameters()) / 1e9, 3),
        "peak_gb": round(memory.peak() / 1e9, 3),
        "peak_of": memory.what,
        **(more or {}),
    }
    admission = admit(llm, tokenizer)
    record |= admission.entries()
    if record["attention"] != "eager":
        record["eager"] = _admit_eager(llm, tokenizer)
    write_llm_record(folder, record)
    if admission.causal_only:
        logging.warning("LLM %s is admitted for systems with prefix_mask: causal only: %s", path, admission.causal_only)
    logging.info("LLM %s: %s parameters, %d tokens", path, f"{record['num_parameters']:,}", record["num_tokens"])
    sizes = (record["load_seconds"], record["weights_gb"], record["peak_gb"], record["peak_of"])
    logging.info("loaded in %.1f s: %.2f GB of weights, at most %.2f GB more than before of %s", *sizes)
    return record


def _admit_eager(llm: LLM, tokenizer: Any) -> dict[str, Any]:
    """What an LLM that was just tested with sdpa is admitted for with eager attention; it may be for nothing."""
    try:
        llm.model.set_attn_implementation("eager")
        return admit(llm, tokenizer).entries()
    except ValueError as error:
        return {"prefix_masks": [], "refused": str(error)}


def write_llm_record(llm_dir: str | Path, record: Mapping[str, Any]) -> None:
    """Write llm.json, atomically."""
    write_json(Path(llm_dir) / LLM_FILE, record)


def check_admission(llm_dir: str, prefix_mask: str, attention: str) -> None:
    """Refuse a mask or an attention that a prepared LLM is not admitted for; a record from before admission allows all.

    Args:
        llm_dir: Where llm.json is.
        prefix_mask: The system's.
        attention: `attention` of the system's `llm_conf`.

    Raises:
        ValueError: The LLM is admitted for other masks only, or not with this attention.
    """
    record_file = Path(llm_dir) / LLM_FILE
    record = read_json(record_file)
    if "prefix_masks" not in record:
        return
    is_tested = attention in ("auto", record["attention"])
    tested, place = (record, "") if is_tested else (record.get(attention, {}), f" with attention: {attention}")
    admitted = tested.get("prefix_masks", [])
    if not admitted:
        reason = tested.get("refused", f"stage llm did not test {record['architecture']} with it; run it again")
        raise InputError(f"attention: {attention}, but {record_file} does not admit {record['path']} with it: {reason}")
    if prefix_mask not in admitted:
        raise InputError(
            f"prefix_mask: {prefix_mask}, but {record_file} admits {record['path']} for {', '.join(admitted)} only"
            f"{place}, since {tested.get('causal_only')}; set prefix_mask: causal, or choose another LLM"
        )


def read_llm_record(llm_dir: str) -> tuple[str, str | None]:
    """Path or hub id of a prepared LLM, and its revision.

    A relative path counts from the record's own folder, so that an experiment can be moved or packed.

    Raises:
        FileNotFoundError: There is no record.
        ValueError: The record is damaged.
    """
    record_file = Path(llm_dir) / LLM_FILE
    if not llm_dir or not record_file.is_file():
        raise MissingFileError(f"{record_file}: no prepared LLM; run stage `llm` or give --llm_dir")
    record = read_json(record_file)
    path, revision = record.get("path"), record.get("revision")
    if not isinstance(path, str) or not isinstance(revision, str | None):
        raise InputError(f"{record_file}: no path of an LLM there, or no text as revision; run stage `llm` again")
    neighbour = record_file.parent / path
    return str(neighbour) if neighbour.is_dir() else path, revision
