"""What is imported of ESPnet, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speechllama.train.light_import import left_out

# What ESPnet would load, and none of our trainings uses before it builds a network.
HEAVY = ("transformers", "librosa", "inflect", "g2p_en", "numba", "sklearn", "matplotlib", "peft")


@pytest.mark.parametrize("module", ["ctc", "speech_llama", "seq2seq"])
def test_a_training_imports_of_espnet_only_what_it_calls(module: str, root: Path) -> None:
    code = (
        f"import sys, typeguard; before = typeguard.typechecked; import speechllama.train.{module}, espnet2.train\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "print(typeguard.typechecked is before)\n"
        "print('espnet2.train.preprocessor' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True", "False"]
    assert "flash_attn" not in done.stderr


def test_the_modules_of_an_encoder_decoder_are_imported_where_one_is_built(root: Path) -> None:
    code = (
        "import sys; from speechllama.train.espnet import seq2seq_classes\n"
        "name = 'espnet2.asr.encoder.conformer_encoder'; print(name in sys.modules)\n"
        "print(seq2seq_classes().encoder.__name__, name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "ConformerEncoder True"]


def test_a_module_that_is_left_out_has_only_empty_classes_and_goes_again() -> None:
    with left_out(["no_such_package.part", "json"]):
        import json

        from no_such_package.part import Something

        assert not isinstance(3, Something)
        assert json.dumps(1) == "1"  # what is loaded already stays
    assert "no_such_package.part" not in sys.modules and sys.modules["json"] is json
