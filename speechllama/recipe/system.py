"""Systems: what a YAML trains, starts from or rescores, and with which LLM.

    --system e6 --size small -> conf/small, TEMPLATE/conf/small, conf, TEMPLATE/conf -> System

Everything that depends on a system asks this record.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speechllama.config import find_config, from_mapping, load_config
from speechllama.constants import SEQ2SEQ
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR, Compressor, CompressorSettings
from speechllama.model.old_settings import COMPRESSOR_KEYS, FRESH_ENCODER
from speechllama.options import UsageError
from speechllama.registry import Choice, choose

CONF = "conf"
SHARED = "train"  # the YAML that the systems with an LLM include
TEACHER, TEACHER_CONF = "teacher_system", "teacher_conf"
CASCADE_KEYS = ("transcribe_system", "prompt_conf")  # what the YAML of a cascade may say
CTC = "ctc"  # the YAML of CTC training; as a system it is the CTC encoder, whose greedy text is scored
TEMPLATE_CONF = Path(__file__).resolve().parents[2] / "egs" / "TEMPLATE" / CONF
# Keys of a YAML that say what a system is; on the command line of a training they would contradict the stages.
SYSTEM_KEYS = (
    "model", "init_system", "rescore_system", "transcribe_system", TEACHER, TEACHER_CONF, "scratch_llm", "encoder",
    "freeze_encoder", "compressor", "compressor_conf", "distill_conf", "ctc_units", "target_units",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """A YAML with what it includes.

    Attributes:
        name: Its file's name without the ending.
        path: How commands name it, from the recipe's directory.
        settings: Merged settings.
        files: All files that it was read from; if one changes, what was trained with it is stale.
    """

    name: str
    path: str
    settings: Mapping[str, Any]
    files: tuple[str, ...]

    def seed(self, given: str) -> int:
        """Return the seed of what this YAML trains: the user's, else its own, else 1."""
        return int(given or self.settings.get("seed", 1))

    def seed_suffix(self, given: str) -> str:
        """Return what another seed than its own adds to a name."""
        return f"_seed{given}" if given and int(given) != self.seed("") else ""


class ConfFolders:
    """Folders in which YAML files are looked for, in order: own and shared ones of the size, own, shared.

    Args:
        size: `--size`, "" for none.
        own: The recipe's folder.
        shared: The folder that all recipes share.

    Raises:
        UsageError: There is no folder of that size.
    """

    def __init__(self, size: str = "", own: Path = Path(CONF), shared: Path = TEMPLATE_CONF) -> None:
        common = Path(os.path.relpath(shared))
        sized = [folder / size for folder in (own, common) if size and (folder / size).is_dir()]
        if size and not sized:
            raise UsageError(f"no size {size!r}: there is no {own.absolute() / size}, nor {shared / size}")
        self.folders = [*sized, *(folder for folder in (own, common) if folder.is_dir())]
        self.size = size

    @property
    def conf_path(self) -> str:
        """The folders as one option of a command, `--conf_path`."""
        return ":".join(map(str, self.folders))

    def has(self, name: str) -> bool:
        """Whether there is such a YAML."""
        return find_config(f"{name}.yaml", self.folders) is not None

    def read(self, name: str) -> Config:
        """Read the first YAML of this name.

        Raises:
            UsageError: There is none, it is faulty, or what it includes does not exist.
        """
        path = find_config(f"{name}.yaml", self.folders)
        if path is None:
            there = sorted({path.stem for folder in self.folders for path in folder.glob("*.yaml")})
            raise UsageError(f"no system {name!r}; in {self.conf_path} there are: {' '.join(there) or 'none'}")
        try:
            loaded = load_config(path, self.folders)
        except (FileNotFoundError, ValueError) as error:
            raise UsageError(str(error)) from error
        return Config(name, str(path), loaded.settings, tuple(map(str, loaded.files)))


@dataclass(frozen=True)
class TeacherConfig:
    """How a teacher writes the texts that its student learns: `teacher_conf` of a YAML.

    Attributes:
        beam_size: Hypotheses of its search; 1 is greedy.
        decode_options: Further options of `decode`, such as "--no_repeat_ngram_size 4".
    """

    beam_size: int = 4
    decode_options: str = ""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise UsageError(f"beam_size: expected at least 1, found {self.beam_size}")


def is_distilled(settings: Mapping[str, Any]) -> bool:
    """Whether the LLM of such a training also reads the transcripts, as a teacher (token-level distillation)."""
    return bool((settings.get("distill_conf") or {}).get("weight"))


@dataclass(frozen=True)
class System:
    """A system that trains: a speech LLM, or an encoder-decoder.

    Attributes:
        config: Its YAML.
        init: The system it starts from (LoRA systems); None for others.
    """

    config: Config
    init: System | None = None

    @property
    def name(self) -> str:
        """Its name in `--system`."""
        return self.config.name

    @property
    def is_seq2seq(self) -> bool:
        """Whether it is an encoder-decoder, without an LLM."""
        return self.config.settings.get("model") == SEQ2SEQ

    @property
    def is_ctc(self) -> bool:
        """Whether it is the CTC encoder by itself, which stage `ctc` trains."""
        return self.config.name == CTC

    @property
    def scratch_llm(self) -> str:
        """Name of the YAML of the LLM that it trains from random weights; "" for others."""
        return str(self.config.settings.get("scratch_llm") or "")

    @property
    def teacher(self) -> str:
        """Name of the system whose texts of the training set it learns; "" if it learns the references."""
        return str(self.config.settings.get(TEACHER) or "")

    @property
    def teacher_conf(self) -> TeacherConfig:
        """How its teacher writes."""
        return from_mapping(
            TeacherConfig, self.config.settings.get(TEACHER_CONF) or {}, f"{self.config.path}: {TEACHER_CONF}"
        )

    @property
    def reads_transcripts(self) -> bool:
        """Whether its training also reads transcripts, as the teacher of a token-level distillation does."""
        return is_distilled(self.config.settings)

    @cached_property
    def _compressor(self) -> Choice[Compressor]:
        settings = self.config.settings
        name = str(settings.get("compressor", DEFAULT_COMPRESSOR))
        return choose(COMPRESSORS, name, settings.get("compressor_conf") or {}, "compressor_conf")

    @property
    def compressor(self) -> Compressor:
        """The record of its compressor."""
        return self._compressor.record

    @property
    def compressor_settings(self) -> CompressorSettings:
        """Settings of its compressor."""
        settings: CompressorSettings = self._compressor.settings
        return settings

    @property
    def freezes_encoder(self) -> bool:
        """Whether it is built on the CTC encoder that stage `ctc` trains; others train an encoder of their own."""
        return not self.is_seq2seq and bool(self.config.settings.get("freeze_encoder", True))

    @property
    def is_cached(self) -> bool:
        """Whether it can train from compressed features."""
        return self.freezes_encoder and self.compressor.is_cached


@dataclass(frozen=True)
class Selection:
    """The system that `--system` selects.

    Attributes:
        name: Its name.
        system: What is trained and decoded; for a rescoring system, the one that it rescores, and for a cascade, the
            one that writes its transcripts.
        rescoring: YAML of a rescoring system, whose LLM chooses among the hypotheses; None for others.
        cascade: YAML of a cascade, whose LLM translates transcripts; None for others.
    """

    name: str
    system: System
    rescoring: Config | None = None
    cascade: Config | None = None

    @property
    def needs_llm(self) -> bool:
        """Whether it has an LLM."""
        return bool(self.rescoring or self.cascade) or not (self.system.is_seq2seq or self.system.is_ctc)

    @property
    def student(self) -> System | None:
        """What learns the texts of a teacher: the system, or else the one that it starts from; None if neither does."""
        found = (each for each in (self.system, self.system.init) if each and each.teacher)
        return next(found, None)

    @property
    def configs(self) -> tuple[Config, ...]:
        """The YAML files of what is done with the hypotheses of the system that is decoded."""
        return tuple(config for config in (self.rescoring, self.cascade) if config)

    @property
    def scratch_llm(self) -> str:
        """Name of the YAML of its LLM from random weights; "" for others."""
        return self.system.scratch_llm


def select_system(name: str, folders: ConfFolders) -> Selection:
    """Read what a system's YAML describes, and what it starts from, rescores or translates the transcripts of.

    Args:
        name: `--system`.
        folders: Where YAML files are looked for.

    Returns:
        The selection, with settings that fit each other.

    Raises:
        UsageError: A YAML does not exist, or its settings contradict each other.
    """
    config = folders.read(name)
    rescored = str(config.settings.get("rescore_system") or "")
    if config.settings.get("transcribe_system"):
        return _select_cascade(config, folders)
    if not rescored:
        return Selection(name, _read_system(config, folders))
    base = folders.read(rescored)
    if base.settings.get("rescore_system"):
        raise UsageError(
            f"{config.path}: rescore_system {rescored} rescores {base.settings['rescore_system']} itself; "
            "name a system that is trained"
        )
    if rescored == CTC:
        raise UsageError(
            f"{config.path}: rescore_system {rescored}: CTC has one hypothesis, so there is none to choose"
        )
    system = _read_system(base, folders)
    if system.scratch_llm:
        raise UsageError(
            f"{config.path}: rescore_system {rescored} has no LLM but its own decoder, and that would rescore itself"
        )
    return Selection(name, system, config)


def _select_cascade(config: Config, folders: ConfFolders) -> Selection:
    """Read a cascade and the system that writes its transcripts."""
    name = str(config.settings["transcribe_system"])
    base = folders.read(name)
    others = [key for key in ("transcribe_system", "rescore_system") if base.settings.get(key)]
    unread = [key for key in config.settings if key not in CASCADE_KEYS]
    if others or config.settings.get("rescore_system"):
        raise UsageError(f"{config.path}: transcribe_system {name}: name a system that is trained, as ctc or e6")
    if unread:
        raise UsageError(
            f"{config.path}: a cascade trains nothing, so {', '.join(unread)} would be ignored; known are "
            f"{', '.join(CASCADE_KEYS)}"
        )
    system = _read_system(base, folders)
    if system.scratch_llm:
        raise UsageError(f"{config.path}: transcribe_system {name} has an LLM of its own, which translates no text")
    return Selection(config.name, system, cascade=config)


def _read_system(config: Config, folders: ConfFolders) -> System:
    """A system that trains, and the one it starts from."""
    first = str(config.settings.get("init_system") or "")
    system = System(config, System(folders.read(first)) if first else None)
    trained = [name for name, record in COMPRESSORS.items() if record.needs_trained_encoder]
    for each in (system, system.init):
        if each is None or each.is_seq2seq:
            continue
        _check_old_keys(each)
        try:
            record = each.compressor
        except ValueError as error:
            raise UsageError(f"{each.config.path}: {error}") from error
        if record.needs_trained_encoder and not each.freezes_encoder:
            raise UsageError(
                f"{each.config.path}: the compressor {record.name} needs a trained CTC encoder, and freeze_encoder is "
                f"false; choose another compressor than {', '.join(trained)}"
            )
        _check_freezing(each)
    if system.scratch_llm and not folders.has(system.scratch_llm):
        raise UsageError(
            f"{config.path}: scratch_llm names {system.scratch_llm}.yaml, which is not in {folders.conf_path}"
        )
    return system


def _check_old_keys(system: System) -> None:
    """Refuse settings of a compressor where they were before `compressor_conf`: they would be ignored."""
    old = [name for name in COMPRESSOR_KEYS if name in system.config.settings]
    if old:
        moved = ", ".join(f"{name}: {system.config.settings[name]}" for name in old)
        raise UsageError(f"{system.config.path}: settings of the compressor are in compressor_conf: {{{moved}}}")


def _check_freezing(system: System) -> None:
    """Refuse a YAML that leaves open what older ones implied: an LLM or compressor from scratch trained its encoder."""
    settings = system.config.settings
    value = settings.get("freeze_encoder")
    if value is not None and not isinstance(value, bool):
        raise UsageError(f"{system.config.path}: freeze_encoder: expected true or false, found {value!r}")
    if value is None and (system.scratch_llm or system.compressor.name == FRESH_ENCODER):
        why = "scratch_llm" if system.scratch_llm else f"the compressor {system.compressor.name}"
        raise UsageError(
            f"{system.config.path}: {why} needs freeze_encoder: false trains an encoder from scratch with the LLM's "
            "loss, true keeps the CTC encoder"
        )
