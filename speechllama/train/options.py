"""Command lines of the trainings: our options, a YAML and what overrides it.

--config conf/e5.yaml --max_epoch 5 -> merged settings -> the options that ESPnet reads

Nothing heavy is imported here, so that --help is printed at once.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml

from speechllama.cli import add_conf_path, new_parser, str2bool
from speechllama.config import read_config
from speechllama.constants import DEFAULT_ENCODER
from speechllama.faults import InputError
from speechllama.files import atomic_write
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR
from speechllama.text.tasks import DEFAULT_TASK, TASKS

if TYPE_CHECKING:
    from speechllama.train.espnet import SpeechTask

Kind = Literal["ctc", "system", "seq2seq"]
# How nested settings (`*_conf`) are read: by ESPnet's NestedDictAction; where only help is wanted, not at all.
NestedAction = str | type[argparse.Action]
STARTS = ("random", "embeddings")  # of a new audio encoder
TRAINER_HELP = """\
These are the options that speechllama adds. Those of ESPnet's trainer, such as --config, --output_dir, --max_epoch,
--optim and --train_data_path_and_name_and_type, are printed by --help_trainer.
"""


def str_or_none(value: str) -> str | None:
    """Read a word of the command line; "none" and "null" are None."""
    return None if value.strip().lower() in ("none", "null") else value


def add_trainer_options(parser: argparse.ArgumentParser) -> None:
    """Add what our trainer adds to ESPnet's, the same for every training."""
    add_conf_path(parser)
    parser.add_argument(
        "--save_minutes",
        type=float,
        default=30.0,
        help="minutes between two saves inside an epoch; 0: only when asked to stop (SIGTERM, SIGUSR1)",
    )
    parser.add_argument(
        "--language_temperature",
        type=float,
        default=1.0,
        help="training sees language l in proportion to (its utterances) ** (1 / temperature); 1: as the data is",
    )


def add_feature_options(group: argparse._ArgumentGroup, nested: NestedAction) -> None:
    """Add what config.yaml records of the features; see `FeatureFormat`."""
    recorded = "recorded, not to be given: what wrote the features says it"
    group.add_argument("--frontend", type=str_or_none, default=None, help=recorded)
    group.add_argument("--frontend_conf", action=nested, default={}, help=recorded)
    group.add_argument("--feature_dim", type=int, default=None, help=recorded)
    group.add_argument("--frame_shift", type=float, default=None, help=recorded)
    group.add_argument("--num_layers", type=int, default=None, help=recorded)
    group.add_argument("--weights", type=str_or_none, default=None, help=recorded)


def add_ctc_options(parser: argparse.ArgumentParser, nested: NestedAction = "store") -> None:
    """Add the options of CTC training."""
    group = parser.add_argument_group("CTC encoder")
    group.add_argument("--tokenizer", type=str_or_none, default=None, help="SentencePiece model of the CTC units")
    group.add_argument("--cmvn_file", type=str_or_none, default=None, help="mean and std of the features (npz)")
    group.add_argument("--encoder", default=DEFAULT_ENCODER, help="one of ENCODERS")
    group.add_argument("--encoder_conf", action=nested, default={}, help="its sizes")
    group.add_argument("--ctc_units", type=int, default=None, help="units to make in stage tokenizer")
    group.add_argument("--num_units", type=int, default=None, help="recorded, not to be given")
    add_feature_options(group, nested)


def add_seq2seq_options(parser: argparse.ArgumentParser, nested: NestedAction = "store") -> None:
    """Add the options of the encoder-decoder's training."""
    group = parser.add_argument_group("sequence to sequence")
    group.add_argument("--model", default="seq2seq", choices=["seq2seq"], help="what a system's YAML is for")
    group.add_argument("--tokenizer", type=str_or_none, default=None, help="SentencePiece model of the text")
    group.add_argument("--cmvn_file", type=str_or_none, default=None, help="mean and std of the features (npz)")
    group.add_argument("--network_conf", action=nested, default={}, help="sizes, see Seq2SeqConfig")
    group.add_argument("--target_units", type=int, default=None, help="units to make in stage tokenizer")
    group.add_argument("--num_units", type=int, default=None, help="recorded, not to be given")
    add_feature_options(group, nested)


def add_system_options(parser: argparse.ArgumentParser, nested: NestedAction = "store") -> None:
    """Add the options of a Speech-LLaMA's training; the network's own are described in `SpeechLlamaConfig`."""
    group = parser.add_argument_group("Speech-LLaMA")
    group.add_argument("--llm_dir", type=str_or_none, default=None, help="prepared LLM (stage llm)")
    group.add_argument("--ctc_dir", type=str_or_none, default=None, help="trained encoder (stage ctc)")
    group.add_argument("--cmvn_file", type=str_or_none, default=None, help="feature statistics (E0, D)")
    group.add_argument("--freeze_encoder", type=str2bool, default=True, help="false: it is new and trains (E0, D)")
    group.add_argument("--init_from", type=str_or_none, default=None, help="experiment to start from (LoRA stage)")
    group.add_argument("--init_adapter", type=str_or_none, default=None, help="LoRA of peft to start from: a directory")
    group.add_argument("--init_adapter_fingerprint", default="", help="recorded, not to be given: of its weights")
    group.add_argument("--init_system", type=str_or_none, default=None, help="its YAML, for the plan of a recipe")
    group.add_argument("--teacher_system", type=str_or_none, default=None, help="whose texts it learns, for the plan")
    group.add_argument("--teacher_conf", action=nested, default={}, help="how that one searches, see TeacherConfig")
    group.add_argument("--scratch_llm", type=str_or_none, default=None, help="D: shape of its LLM, YAML")
    group.add_argument("--task_name", default=DEFAULT_TASK, choices=list(TASKS), help="what it learns to write")
    group.add_argument("--task_conf", action=nested, default={}, help="see TaskConfig")
    group.add_argument("--text_share", type=float, default=0.0, help="share of batches that are pairs of texts")
    group.add_argument("--text_pairs", type=str_or_none, default=None, help="TSV of pairs [the training set's own]")
    group.add_argument("--distill_conf", action=nested, default={}, help="see DistillConfig: its LLM as a teacher")
    group.add_argument("--prompt_conf", action=nested, default={}, help="see PromptConfig")
    group.add_argument("--compressor", default=DEFAULT_COMPRESSOR, choices=list(COMPRESSORS))
    group.add_argument("--compressor_conf", action=nested, default={}, help="see its settings class")
    group.add_argument("--centroids_file", type=str_or_none, default=None, help="units: from stage compress")
    group.add_argument("--encoder", default=DEFAULT_ENCODER, help="one of ENCODERS that trains (E0, D)")
    group.add_argument("--encoder_conf", action=nested, default={}, help="its sizes (E0, D)")
    add_feature_options(group, nested)
    group.add_argument("--audio_encoder_conf", action=nested, default={}, help="see TransformerConfig")
    group.add_argument("--audio_encoder_start", default=STARTS[0], choices=STARTS,
                       help="how a new audio encoder starts; embeddings: near the words that CTC heard")  # fmt: skip
    group.add_argument("--train_audio_encoder", type=str2bool, default=True, help="false freezes it (LoRA stage)")
    group.add_argument("--llm_conf", action=nested, default={}, help="see LLMConfig")
    group.add_argument("--prefix_mask", default="non_causal", help="causal or non_causal: who sees whom in the prefix")
    group.add_argument("--label_smoothing", type=float, default=0.0, help="share spread over the vocabulary, 0 to 1")


ADD_OPTIONS: dict[Kind, Callable[..., None]] = {
    "ctc": add_ctc_options,
    "system": add_system_options,
    "seq2seq": add_seq2seq_options,
}


def help_parser(doc: str | None, kind: Kind) -> argparse.ArgumentParser:
    """Make the parser that prints our options of a training; it reads none, since ESPnet's are missing.

    Args:
        doc: The entry point's `__doc__`.
        kind: Which training.
    """
    parser = new_parser(doc)
    parser.epilog = TRAINER_HELP
    parser.add_argument("--help_trainer", action="store_true", help="print all options, those of ESPnet's trainer too")
    add_trainer_options(parser)
    ADD_OPTIONS[kind](parser)
    return parser


def run_training(parser: argparse.ArgumentParser, kind: Kind, cmd: Sequence[str] | None) -> None:
    """Train, or print help: ours at once, that of ESPnet's trainer after its import.

    Args:
        parser: Made by `help_parser`.
        kind: Which training.
        cmd: Command line; None: this process's own.
    """
    words = sys.argv[1:] if cmd is None else list(cmd)
    if "--help" in words or "-h" in words:
        parser.print_help()
    elif "--help_trainer" in words:
        find_task(kind).get_parser().print_help()
    else:
        find_task(kind).main(cmd=words)


def find_task(kind: Kind) -> type[SpeechTask]:
    """Import the ESPnet task of a training.

    Raises:
        ValueError: There is no such training.
    """
    if kind == "ctc":
        from speechllama.train.ctc import CTCTask

        return CTCTask
    if kind == "system":
        from speechllama.train.speech_llama import SpeechLlamaTask

        return SpeechLlamaTask
    if kind == "seq2seq":
        from speechllama.train.seq2seq import Seq2SeqTask

        return Seq2SeqTask
    raise InputError(f"unknown training {kind!r}, expected one of {', '.join(ADD_OPTIONS)}")


@functools.cache
def known_options(kind: Kind) -> frozenset[str]:
    """Names of all options of a training, ours and those of ESPnet's trainer, which is imported."""
    return frozenset(action.dest for action in find_task(kind).get_parser()._actions) - {"help"}


def resolve_includes(cmd: list[str]) -> list[str]:
    """Replace `--config FILE` by the merged settings, kept as `<output_dir>/train.yaml` for the record.

    Args:
        cmd: Command line.

    Returns:
        The command line that ESPnet gets.
    """
    config, output_dir = option(cmd, "config"), option(cmd, "output_dir")
    if config is None or output_dir is None:
        return cmd
    merged = Path(output_dir) / "train.yaml"
    settings = read_config(config, option(cmd, "conf_path") or "")
    with atomic_write(merged) as stream:  # its name for the time being has the process id: every GPU's process writes
        stream.write(f"# merged from {config}\n" + yaml.safe_dump(settings, sort_keys=False))
    return [*cmd, "--config", str(merged)]


def option(cmd: list[str], name: str) -> str | None:
    """The last value of an option on a command line, `--name value` or `--name=value`."""
    found = None
    for index, word in enumerate(cmd):
        if word == f"--{name}" and index + 1 < len(cmd):
            found = cmd[index + 1]
        elif word.startswith(f"--{name}="):
            found = word.partition("=")[2]
    return found


def check_keys(cmd: list[str], known: set[str]) -> None:
    """Refuse keys of `--config` that are no options of the task; see `check_settings`."""
    config = option(cmd, "config")
    if config is not None:
        check_settings(read_config(config, option(cmd, "conf_path") or ""), known, config)


def check_settings(settings: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse settings that are no options of the task.

    Raises:
        ValueError: Unknown keys, all of them; of each the nearest known one is named.
    """
    faults = []
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            faults.append(f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if faults:
        raise InputError(f"{where}: {'; '.join(faults)}")


class _Overrides(argparse.ArgumentParser):
    """Parser whose faults are exceptions."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def override(settings: dict[str, Any], options: str, known: Collection[str]) -> dict[str, Any]:
    """Settings with a command line's options on top, read as ESPnet reads them.

    Args:
        settings: Those of a YAML.
        options: Words of a command line, such as "--max_epoch 5 --llm_conf gradient_checkpointing=true".
        known: Names of the task's options; those that end in `_conf` hold nested settings.

    Returns:
        The merged settings.

    Raises:
        ValueError: Options that are none, or values that cannot be read: all of them are named.
    """
    from speechllama.train.espnet import NestedDictAction  # which imports this module

    parser = _Overrides(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in sorted(known):
        if name.endswith("_conf"):
            parser.add_argument(f"--{name}", action=NestedDictAction, default=argparse.SUPPRESS)
        else:
            parser.add_argument(f"--{name}", type=yaml.safe_load, nargs="+")
    given, faults = argparse.Namespace(**settings), []
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise InputError(f"options {options!r}: {error}") from error
    for group in split_options(words):  # one at a time, for the parser stops at its first fault
        try:
            parser.parse_args(group, given)
        except (ValueError, yaml.YAMLError) as error:
            faults.append(str(error))
    if faults:
        raise InputError(f"options {options!r}: {'; '.join(faults)}")
    single = {name: value[0] for name, value in vars(given).items() if isinstance(value, list) and len(value) == 1}
    return vars(given) | {name: value for name, value in single.items() if vars(given)[name] is not settings.get(name)}


def split_options(words: Sequence[str]) -> list[list[str]]:
    """Each option of a command line with its values; words before the first are one group."""
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(word)
    return groups
