"""Everything we take from ESPnet, imported in one place, and what we change for every task.

Works with 202511 (Python 3.10, 3.11) and 202611 (3.12, 3.13). `espnet2.tasks.asr` is not imported: it costs six
seconds and tries to download.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from espnet2.tasks.abs_task import AbsTask, optim_classes
from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.train.trainer import Trainer
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str2bool, str_or_none

from speechllama.tasks.config_file import check_keys, resolve_includes

__all__ = ["AbsESPnetModel", "NestedDictAction", "SpeechTask", "force_gatherable", "str2bool", "str_or_none"]

CHECKPOINT = "checkpoint.pth"
PREVIOUS = "checkpoint.previous.pth"


class ResumableTrainer(Trainer):
    """ESPnet's trainer; a kill at any moment, also while it saves, loses at most the epoch in flight.

    The host overwrites `checkpoint.pth` in place and writes `<epoch>epoch.pth` after it. Before it does, we keep a
    copy of the last whole checkpoint; before it starts, we put right what a kill left behind.
    """

    @classmethod
    def run(cls, *args: Any, **kwargs: Any) -> None:
        """Mend the output directory, then train."""
        options, distributed = kwargs["trainer_options"], kwargs["distributed_option"]
        if options.resume and (not distributed.distributed or distributed.dist_rank == 0):
            recover(Path(options.output_dir))
        if distributed.distributed:
            torch.distributed.barrier()
        super().run(*args, **kwargs)

    @classmethod
    def validate_one_epoch(cls, *args: Any, **kwargs: Any) -> None:
        """Validate, then keep a copy of the checkpoint the host is about to overwrite."""
        super().validate_one_epoch(*args, **kwargs)
        folder = Path(kwargs["options"].output_dir)
        distributed = kwargs["distributed_option"]
        if (folder / CHECKPOINT).is_file() and (not distributed.distributed or distributed.dist_rank == 0):
            partial = folder / f"{PREVIOUS}.tmp"
            shutil.copyfile(folder / CHECKPOINT, partial)
            os.replace(partial, folder / PREVIOUS)


def recover(folder: Path) -> None:
    """Put right what a kill during saving left: a torn checkpoint, or a missing or torn epoch file.

    Args:
        folder: The experiment directory.
    """
    state = _load_whole(folder / CHECKPOINT)
    if state is None and (folder / PREVIOUS).is_file():
        state = _load_whole(folder / PREVIOUS)
        if state is not None:
            logging.warning("%s is torn or missing; going on from the epoch before", folder / CHECKPOINT)
            shutil.copyfile(folder / PREVIOUS, folder / f"{CHECKPOINT}.tmp")
            os.replace(folder / f"{CHECKPOINT}.tmp", folder / CHECKPOINT)
    if state is None:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return
    epoch_file = folder / f"{state['reporter']['epoch']}epoch.pth"
    if _load_whole(epoch_file) is None:
        torch.save(state["model"], folder / "epoch.tmp")
        os.replace(folder / "epoch.tmp", epoch_file)


def _load_whole(path: Path) -> dict[str, Any] | None:
    """A saved file's content, or None if it is absent or torn."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a torn zip fails in many ways: RuntimeError, EOFError, UnpicklingError, OSError ...
        logging.warning("%s cannot be read (%s)", path, error)
        return None
    return content


class SpeechTask(AbsTask):
    """What both of our tasks share: strict options, an optimizer of what trains, safe resume."""

    num_optimizers = 1
    trainer = ResumableTrainer
    padding = -1  # of token ids

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """The host's parser, without its habit to accept any unique beginning of an option."""
        parser = super().get_parser()
        parser.allow_abbrev = False
        return parser

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Run the task; a YAML may `include` another, and its keys are checked with the nearest name shown."""
        if args is None:
            parser = cls.get_parser()
            cmd = resolve_includes(list(cmd or []))
            check_keys(cmd, {action.dest for action in parser._actions})
            args = parser.parse_args(cmd)
        super().main(args=args)

    @classmethod
    def build_collate_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable[[Collection[tuple[str, dict[str, np.ndarray]]]], tuple[list[str], dict[str, torch.Tensor]]]:
        """Pad features with 0 and ids with -1."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=cls.padding)

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
        """One optimizer over the trainable parameters; the host would also give it the frozen ones."""
        if args.optim not in optim_classes:
            raise ValueError(f"optim {args.optim!r} is none of {', '.join(optim_classes)}")
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return [optim_classes[args.optim](trainable, **args.optim_conf)]

    @classmethod
    def check_options(cls, args: argparse.Namespace, model: torch.nn.Module) -> None:
        """Fail where the host would go on in silence.

        Raises:
            ValueError: `--freeze_param` names no parameter, or the host's `--init_param` is used.
        """
        names = [name for name, _ in model.named_parameters()]
        for frozen in args.freeze_param:
            if not any(name == frozen or name.startswith(f"{frozen}.") for name in names):
                raise ValueError(f"--freeze_param {frozen}: the model has no such parameter; it has {names[:5]} ...")
        if args.init_param:
            raise ValueError("--init_param passes over names that do not match; use --init_from EXPERIMENT instead")
