"""Take the outputs of a task with several parts apart, so that each part is scored as what it is.

<system>/output_<set>_beam<K>/text: "transcript Translation: translation"
  -> <system>/decode_<set>_beam<K>.asr/text, decode_<set>_beam<K>/text, each with decode.json
"""

from __future__ import annotations

import logging
from pathlib import Path

from speechllama.faults import InputError
from speechllama.files import read_json, read_table, write_json, write_table
from speechllama.text.tasks import NUM_WITHOUT, TASKS, Task


def take_part(task: Task, text: str, part: str) -> str:
    """Take a part out of an output.

    An output without its separator is all of the first part: the LLM has written nothing of the others.

    Args:
        task: A task whose outputs have several parts.
        text: The output.
        part: Name of the part.
    """
    found = task.split(text)
    if found is None:
        return text if part == task.parts[0] else ""
    return found[part]


def write_parts(task: str, output_dir: str, part_dirs: dict[str, str]) -> int:
    """Write the parts of a decoded set, each as a decoded set.

    Args:
        task: A name in TASKS.
        output_dir: The decoded set, with text and decode.json.
        part_dirs: Where each part goes, by its name.

    Returns:
        How many outputs lack a separator; decode.json of each part has that number, too.

    Raises:
        FileNotFoundError: The set is not decoded.
        ValueError: The task has no such parts, or its outputs have one part each.
    """
    record = TASKS[task]
    if not record.separator or set(part_dirs) - set(record.parts):
        expected = ", ".join(record.parts) if record.separator else "none, since its outputs have one part each"
        raise InputError(f"parts of the task {task}: expected {expected}, found {', '.join(part_dirs)}")
    outputs = read_table(Path(output_dir) / "text")
    report = read_json(Path(output_dir) / "decode.json")
    num_without = sum(record.split(text) is None for text in outputs.values())
    for part, folder in part_dirs.items():
        texts = {utterance: take_part(record, text, part) for utterance, text in outputs.items()}
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_table(Path(folder) / "text", texts)
        write_json(Path(folder) / "decode.json", {**report, NUM_WITHOUT: num_without})
    log = logging.warning if num_without else logging.info
    log("%s: %d of %d outputs lack %r", output_dir, num_without, len(outputs), record.separator)
    return num_without
