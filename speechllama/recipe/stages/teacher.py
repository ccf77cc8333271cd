"""Stage train of a student: what its teacher needs, the teacher's texts of the training set, then its own training.

stages of the teacher, unless it is trained -> its texts of the training set -> a training set with them -> training
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.recipe.stages import system
from speechllama.recipe.stages.decoding import decode_jobs
from speechllama.recipe.stages.encoder import compress, ctc
from speechllama.recipe.stages.records import Clear, Job, Stage, module, tables
from speechllama.recipe.stages.speech import statistics, tokenizer

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan

BEFORE_TRAINING = (tokenizer, statistics, ctc, compress, system.llm)
TRAINING = (system.train, system.lora, system.average)
NAME = "teach"  # of the rows of a teacher, which are parts of stage train


def train(plan: Plan) -> list[Stage]:
    """Training of the system, or of the one from which a LoRA system starts; before it, what a teacher has to do."""
    return [*_teach(plan), *system.train(plan)]


def _teach(plan: Plan) -> list[Stage]:
    """What a teacher has to do; nothing without one.

    A teacher that is trained stays as it is, whatever options this run has; its own run keeps it up to date.
    """
    teacher = plan.teacher
    if teacher is None:
        return []
    folder = teacher.layout.base_dir
    shared = {row.marker for make in BEFORE_TRAINING for row in make(plan)}
    needed = [row for make in BEFORE_TRAINING for row in make(teacher) if row.jobs and row.marker not in shared]
    trainings = [row for make in TRAINING for row in make(teacher) if row.jobs]
    if Path(folder, "model.pth").is_file():
        # They stay in the table: what was begun after them is continued only if it still has the same place there.
        trained = f"{teacher.selection.name} is trained ({folder})"
        trainings = [dataclasses.replace(row, skip=trained, jobs=(), clears=()) for row in trainings]
    rows = [*needed, *trainings, _decode(teacher), _take_texts(plan, teacher)]
    return [dataclasses.replace(row, name=NAME, early=False) for row in rows]


def _decode(teacher: Plan) -> Stage:
    """Decode the training set, without a control."""
    layout, folder = teacher.layout, teacher.layout.teaching
    return Stage(
        NAME,
        f"texts of the training set by {teacher.selection.name} ({folder})",
        f"{layout.base_dir}/.{Path(folder).name}.done",
        f"decode_options={teacher.options.decode_options}",
        inputs=(f"{layout.base_dir}/model.pth",),
        outputs=tables([folder], ("text", "nbest.jsonl")),
        jobs=tuple(decode_jobs(teacher, "train", folder)),
        clears=(Clear("move_aside", (folder,)),),
    )


def _take_texts(plan: Plan, teacher: Plan) -> Stage:
    """Make a training set of the teacher's texts, without those that are no examples."""
    layout, texts = plan.layout, teacher.layout.teaching
    source, folder = layout.llm_input("train"), layout.llm_input(layout.taught_set(teacher.layout))
    table, reference = layout.llm_input_table[0], layout.base_task.reference
    words = ("take_texts", "--decode_dir", texts, "--data_dir", source, "--table", reference, "--output_dir", folder)
    return Stage(
        NAME,
        f"training set with the texts of {teacher.selection.name} ({folder})",
        f"{folder}/.{NAME}.done",
        inputs=(f"{texts}/nbest.jsonl", *tables([source], (table, reference))),
        outputs=tables([folder], (table, reference, "taught.json")),
        jobs=(Job("cpu", module(*words), f"{layout.llm_input('log')}/{NAME}_{Path(folder).name}.log"),),
        shows=(f"{folder}/taught.md",),
    )
