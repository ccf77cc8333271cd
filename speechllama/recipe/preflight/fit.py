"""Whether the trainings of a run fit their data: updates in an epoch, utterances in the LLM's context.

trainings, data directories -> faults, and the share of the utterances that training will leave out
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.files import read_table
from speechllama.recipe.preflight.amounts import VECTORS_PER_SECOND, Amount
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import PlannedTraining, encoder_shape
from speechllama.recipe.preflight.typical import characters_per_token


def check_updates(
    run: CheckedRun, trainings: list[PlannedTraining], amounts: Mapping[str, Amount], faults: list[str]
) -> None:
    """Compare the batches of an epoch with accum_grad; ESPnet leaves out the batches that fill no update.

    Args:
        run: The run.
        trainings: Those whose YAML files build.
        amounts: Speech by split; if it is empty, nothing is known.
        faults: Gets a line for each training without an update.
    """
    for training in trainings if "train" in amounts else []:
        seconds_a_batch = training.batch.seconds * run.options.num_processes
        by_data = math.ceil(amounts["train"].seconds / seconds_a_batch)
        batches = int(training.settings.get("num_iters_per_epoch") or by_data)
        accumulated = int(training.settings.get("accum_grad", 1))
        if batches < accumulated and training.stage not in run.finished:
            faults.append(
                f"stage {training.stage}, {training.path}: an epoch has about {batches} batches, an update needs "
                f"{accumulated} (accum_grad): nothing would be trained; take a smaller accum_grad or batch_bins"
            )


def check_context(run: CheckedRun, trainings: list[PlannedTraining], lines: list[str], faults: list[str]) -> None:
    """Say how many utterances need more positions than the LLM has, where the data are there.

    Args:
        run: The run.
        trainings: Those whose YAML files build.
        lines: Gets a line for each set with such utterances.
        faults: Gets a line if no utterance of a set fits.
    """
    training = next((training for training in reversed(trainings) if training.network is not None), None)
    context = training.network.llm.context if training and training.network else None
    if training is None or context is None:
        return
    num_vectors, per_token = vectors_of_seconds(run, training), None
    for name in SPLITS:
        texts, durations = (Path(run.layout.data(name, table)) for table in (run.layout.task.reference, "utt2dur"))
        if not texts.is_file() or not durations.is_file():
            continue
        found = run.layout.task.texts_of(read_table(texts))
        per_token = per_token or characters_per_token(run, list(found.values()))
        counts = [
            training.batch.num_prompt + num_vectors(float(seconds)) + len(found.get(utterance, "")) / per_token
            for utterance, seconds in read_table(durations).items()
        ]
        beyond = sum(count > context for count in counts)
        if beyond:
            what = "training leaves them out" if name != SPLITS[-1] else "their text is cut off, or empty"
            line = (
                f"{name}: about {beyond:,} of {len(counts):,} utterances ({beyond / len(counts):.1%}) need more than "
            )
            line += f"the LLM's {context:,} positions; {what}"
            (faults if beyond == len(counts) else lines).append(line)


def vectors_of_seconds(run: CheckedRun, training: PlannedTraining) -> Callable[[float], float]:
    """Count the positions that audio takes: exactly where the compressor says so, else those of typical speech."""
    assert training.network is not None
    config = training.network.config
    ratio = config.compressor.record.frames_per_vector
    if not ratio:
        return lambda seconds: seconds * VECTORS_PER_SECOND
    frozen = training.encoder if config.freeze_encoder else None
    encoder = frozen or encoder_shape(run, config.encoder)
    return lambda seconds: -(-encoder.num_frames(int(seconds / run.features.frame_shift)) // ratio)
