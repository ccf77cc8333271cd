"""Whether a training trains: data that are numbers, at least one update an epoch, losses that are finite.

batches, gradients, losses of an epoch -> nothing, or the reason why the training ends

ESPnet stops at an epoch without a valid gradient, warns, and ends well; an untrained model then went through a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from speechllama.faults import InputError

LOWER_RATE = (
    "lower the learning rate (optim_conf: lr), warm it up for longer, or clip gradients (grad_clip), and start in "
    "another directory or without this one; the epochs before are kept"
)


def check_update_size(num_batches: int, accum_grad: int, where: str) -> None:
    """Refuse an epoch that is shorter than an update.

    Args:
        num_batches: Batches an epoch.
        accum_grad: Batches an update.
        where: The experiment.

    Raises:
        ValueError: No update would ever happen.
    """
    if num_batches < accum_grad:
        raise InputError(
            f"{where}: an epoch has {num_batches} batches and an update needs {accum_grad} (accum_grad): nothing would "
            "be trained; take a smaller accum_grad, or smaller batches (batch_bins)"
        )


def check_finite(utterances: Sequence[str], batch: Mapping[str, Any]) -> None:
    """Refuse a batch with NaN or infinity: in training one undoes an update, in validation all of it.

    Args:
        utterances: Their names.
        batch: Data by name, the first axis of each is the utterance.

    Raises:
        ValueError: The utterances and the data are named.
    """
    for name, values in batch.items():
        if not isinstance(values, torch.Tensor) or not values.is_floating_point() or torch.isfinite(values).all():
            continue
        faulty = [utt for utt, row in zip(utterances, values, strict=True) if not torch.isfinite(row).all()]
        raise InputError(
            f"utterance {', '.join(faulty[:10])}: `{name}` holds NaN or infinity; leave the utterance out, or make its "
            "features again (stages `features` and `compress`, which refuse such)"
        )


def check_gradients(all_invalid: bool, epoch: int, where: str) -> None:
    """End a training that has lost its way.

    Args:
        all_invalid: Whether no gradient of the epoch was finite.
        epoch: Its number.
        where: The experiment.

    Raises:
        ValueError: None was.
    """
    if all_invalid:
        raise InputError(
            f"{where}: diverged at epoch {epoch}: no gradient was finite, so nothing was updated; {LOWER_RATE}"
        )


def check_loss(values: Sequence[Any], epoch: int, where: str) -> None:
    """End a training whose validation loss is not finite.

    Args:
        values: The loss of each batch of the validation, as ESPnet reports it.
        epoch: Its number.
        where: The experiment.

    Raises:
        ValueError: One is not.
    """
    losses = [float(getattr(value, "value", value)) for value in values]
    wrong = [loss for loss in losses if not math.isfinite(loss)]
    if wrong:
        raise InputError(
            f"{where}: diverged at epoch {epoch}: the validation loss of {len(wrong)} of {len(losses)} batches is "
            f"{wrong[0]}; {LOWER_RATE}"
        )
