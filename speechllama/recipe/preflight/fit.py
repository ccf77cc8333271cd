"""Whether the trainings of a run fit their data: updates in an epoch, utterances in the LLM's context.

trainings, data directories -> faults, and the share of the utterances that training will leave out
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from speechllama.constants import SPLITS
from speechllama.data.data_dir import lacks_transcripts
from speechllama.files import read_table
from speechllama.recipe.preflight.amounts import VECTORS_PER_SECOND, Amount
from speechllama.recipe.preflight.run import CheckedRun
from speechllama.recipe.preflight.systems import PlannedTraining, encoder_shape
from speechllama.recipe.preflight.typical import characters_per_token, written_texts
from speechllama.text.clean import is_blank
from speechllama.train.distillation import TRANSCRIPT_TABLE, read_distillation
from speechllama.train.task_mixture import read_shares
from speechllama.train.text_pairs import check_text_share


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


def check_mixtures(run: CheckedRun, trainings: list[PlannedTraining], faults: list[str]) -> None:
    """Check what trainings mix: tasks, by their shares, pairs of texts, and the choices of a teacher.

    Args:
        run: The run.
        trainings: Those whose YAML files build.
        faults: Gets a line for each wrong setting.
    """
    for training in trainings:
        if training.network is None:
            continue
        settings = training.settings
        try:
            read_shares(settings.get("task_conf") or {}, run.layout.base_task, f"{training.path}: task_conf")
            check_text_share(settings, training.path)
            read_distillation(settings, run.layout.base_task, training.path)
        except (ValueError, OSError) as error:
            faults.append(str(error))


def check_texts(run: CheckedRun, faults: list[str]) -> None:
    """Find out whether the data have what the task writes, such as transcripts.

    Args:
        run: The run.
        faults: Gets a line for each table of the training or development set that is missing or without any text.
    """
    system, task = run.plan.selection.system, run.layout.base_task
    is_taught = any(each and each.reads_transcripts for each in (system, system.init))
    names = dict.fromkeys([*task.references, *([TRANSCRIPT_TABLE] if is_taught else [])])
    needs_transcripts = task.is_translation and TRANSCRIPT_TABLE in names
    for folder in (Path(run.layout.data(name)) for name in SPLITS[:2]):
        if needs_transcripts and lacks_transcripts(folder):
            what = "distill_conf" if is_taught else f"--task {task.name}"
            place = folder / TRANSCRIPT_TABLE
            faults.append(f"{place} has the translations, so there are no transcripts, which {what} needs")
        for name in names if (folder / "utt2spk").is_file() else ():
            texts = read_table(folder / name) if (folder / name).is_file() else {}
            if all(map(is_blank, texts.values())):
                what = "there is none" if not texts else "all of its texts are empty"
                if name not in task.references:
                    faults.append(
                        f"distill_conf: the teacher reads {folder / name}, and {what}; write it in stage data"
                    )
                    continue
                faults.append(
                    f"the task {task.name} learns to write {folder / name}, and {what}; write it in stage data, or "
                    "choose another --task"
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
        found, durations = written_texts(run, name), Path(run.layout.data(name, "utt2dur"))
        if not found or not durations.is_file():
            continue
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
