"""What CTC itself recognised, as a decoded set that is scored and compared as those of the systems built on it.

<compressed>/<set>/ctc_hyp -> text, decode.json; for the control, each utterance has another one's text
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from speechllama.data.data_dir import read_data_dir
from speechllama.decode.control import exchange
from speechllama.decode.decode_set import read_commit
from speechllama.faults import InputError
from speechllama.files import write_json, write_table
from speechllama.model.build import load_ctc_encoder


def write_ctc_text(ctc_dir: str, data_dir: str, output_dir: str, control: bool, words: Sequence[str] = ()) -> None:
    """Write the greedy text of a set.

    The control is drawn as that of every other system: CTC reads nothing but the audio, so the text that it writes for
    the audio of another utterance is the text of that utterance.

    Args:
        ctc_dir: Trained CTC experiment.
        data_dir: Compressed features of the set, with `ctc_hyp`.
        output_dir: Gets text and decode.json.
        control: Whether each utterance gets the audio of another one.
        words: The command line after the module, for the record.

    Raises:
        ValueError: The directory has no such text, or there is no control for a single utterance.
    """
    data = read_data_dir(data_dir)
    texts = data.table("ctc_hyp")
    if not texts:
        raise InputError(f"{data_dir}: no ctc_hyp there; run stage `compress` again")
    if control:
        other = exchange(list(texts), data)
        texts = {utterance: texts[other[utterance]] for utterance in texts}
    parameters = list(load_ctc_encoder(ctc_dir).parameters())
    report = {
        "beam_size": 1,
        "control": control,
        "commit": read_commit(),
        "num_parameters": sum(parameter.numel() for parameter in parameters),
        # A CTC head that came with a front end has never been trained here, nor the base of one that trains.
        "num_trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "command": shlex.join(["python3", "-m", "speechllama.bin.ctc_text", *words]),
    }
    write_json(Path(output_dir) / "decode.json", report)
    write_table(Path(output_dir) / "text", texts)
