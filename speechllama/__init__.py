"""Speech-LLaMA (arXiv 2307.03917), a text LLM that understands speech, as ESPnet-style recipes.

    waveform (B, S) -> log-mel (B, T, F) -> CTC encoder (B, M, D) -> CTC compressor (B, U, D)
      -> audio encoder (B, U, H) -> LLM input [prompt ; audio ; text] (B, N, H) -> text

    B utterances              C CTC units, 0 is blank
    S samples, 16 kHz         U compressed frames
    T feature frames, 10 ms   H LLM width
    F mel bins, 80            N LLM positions
    M encoder frames, 40 ms   L text tokens
    D encoder width           V LLM vocabulary

`corpora` and `data` make data directories and features, `model` is the network, `train` trains it with ESPnet, `decode`
searches, `report` scores; `recipe` plans a run, and its stages call the entry points in `bin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechllama.decode.speech2text import Speech2Text as Speech2Text

__version__ = "0.1.0"
__all__ = ["Speech2Text"]


def __getattr__(name: str) -> Any:
    # Imported on use: torch and transformers take seconds, and most entry points need neither.
    if name == "Speech2Text":
        from speechllama.decode.speech2text import Speech2Text

        return Speech2Text
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
