"""The stages of every recipe, one function each; their order in STAGES is the numbering.

    Plan -> Stage(name, title, settings, inputs, outputs, jobs, ...) -> printed for utils/stages.sh, which runs them

To add a stage, write a function that returns its rows and put it into STAGES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from speechllama.recipe.stages.decoding import decode, pack, score
from speechllama.recipe.stages.encoder import compress, ctc
from speechllama.recipe.stages.records import Clear, Job, Stage, module
from speechllama.recipe.stages.speech import data, features, preflight, statistics, tokenizer
from speechllama.recipe.stages.system import average, llm, lora
from speechllama.recipe.stages.teacher import train

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan

__all__ = ["STAGES", "Clear", "Job", "Stage", "module", "stage_number"]

STAGES: list[Callable[[Plan], list[Stage]]] = [
    preflight,  # what can be checked before hours are spent
    data,  # corpus and data directories
    features,
    tokenizer,  # units of CTC, or of an encoder-decoder
    statistics,
    ctc,  # training of the CTC encoder
    compress,  # compressed features, and the report on CTC
    llm,
    train,  # audio encoder, or encoder-decoder; before it, what a teacher has to do
    lora,
    average,  # the best epochs
    decode,  # and rescore
    score,
    pack,
]


def stage_number(name: str) -> int:
    """Return the number of a stage.

    Raises:
        ValueError: There is no such stage.
    """
    return [stage.__name__ for stage in STAGES].index(name)
