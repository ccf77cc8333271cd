"""Recover from a kill while ESPnet saves: a copy of the previous checkpoint replaces a truncated one.

    checkpoint.pth, checkpoint.previous.pth, <epoch>epoch.pth -> the same, whole; or none, and training starts again

ESPnet overwrites `checkpoint.pth` in place and writes `<epoch>epoch.pth` after it.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from speechllama.training_record import CHECKPOINT

PREVIOUS = "checkpoint.previous.pth"


def recover(folder: Path, reporter: Any) -> None:
    """Repair what a kill during saving left: a truncated checkpoint, or a missing or truncated epoch file.

    Args:
        folder: The experiment directory.
        reporter: A fresh one of ESPnet's, which reads the statistics of any release and writes those of its own.
    """
    state = load_whole(folder / CHECKPOINT)
    if state is None and (folder / PREVIOUS).is_file():
        state = load_whole(folder / PREVIOUS)
        if state is not None:
            logging.warning("%s is truncated or missing; resuming from the previous epoch", folder / CHECKPOINT)
            shutil.copyfile(folder / PREVIOUS, folder / f"{CHECKPOINT}.tmp")
            os.replace(folder / f"{CHECKPOINT}.tmp", folder / CHECKPOINT)
    if state is None:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return
    # 202611 accepts only plain values, which 202511 does not write; its own reporter knows how to make them.
    reporter.load_state_dict(state["reporter"])
    if reporter.state_dict() != state["reporter"]:
        torch.save({**state, "reporter": reporter.state_dict()}, folder / f"{CHECKPOINT}.tmp")
        os.replace(folder / f"{CHECKPOINT}.tmp", folder / CHECKPOINT)
    epoch_file = folder / f"{state['reporter']['epoch']}epoch.pth"
    if load_whole(epoch_file) is None:
        torch.save(state["model"], folder / "epoch.tmp")
        os.replace(folder / "epoch.tmp", epoch_file)


def keep_previous(folder: Path) -> None:
    """Keep a copy of the last whole checkpoint, if there is one: ESPnet is about to overwrite it in place."""
    if not (folder / CHECKPOINT).is_file():
        return
    partial = folder / f"{PREVIOUS}.tmp"
    shutil.copyfile(folder / CHECKPOINT, partial)
    os.replace(partial, folder / PREVIOUS)


def load_whole(path: Path) -> dict[str, Any] | None:
    """A saved file's content, or None if it is absent or truncated."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a truncated zip fails as RuntimeError, EOFError, UnpicklingError, OSError ...
        logging.warning("%s cannot be read (%s)", path, error)
        return None
    return content
