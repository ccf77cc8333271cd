"""Import ESPnet without what our trainings never call: seconds instead of half a minute.

with light_import():
from espnet2 ... import ...
"""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec

import typeguard

# What ESPnet imports and none of our trainings calls, with the CPU seconds that each costs.
UNUSED = (
    "espnet2.train.preprocessor",  # tokenizers and augmentation: 5; its phonemes: 8 more, and two attempts to download
    "transformers.models.wav2vec2.modeling_wav2vec2",  # adapters of wav2vec 2.0: 2.5
    "espnet2.gan_tts.jets.alignments",  # attention of speech synthesis: 0.7
)


class StandIn(types.ModuleType):
    """A module whose every name is an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(f"{self.__name__} is left out; it has no {name}")
        return type(name, (), {})


@contextmanager
def left_out(names: Sequence[str]) -> Iterator[None]:
    """Put stand-ins in the places of modules while ESPnet is imported; modules that are there already stay."""
    stand_ins = {name: StandIn(name) for name in names if name not in sys.modules}
    for name, stand_in in stand_ins.items():
        stand_in.__spec__ = ModuleSpec(name, None)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


@contextmanager
def unchecked() -> Iterator[None]:
    """Import ESPnet without typeguard, which writes every function anew, with checks of its types: 2 s."""
    typechecked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = typechecked


@contextmanager
def light_import() -> Iterator[None]:
    """Import from ESPnet only what our trainings call, and without remarks on packages that are not installed."""
    with left_out(UNUSED), unchecked(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
