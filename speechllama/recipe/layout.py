"""The paths of a run: every path pattern of a recipe is here and nowhere else.

    Options, Selection, ConfFolders -> Layout

Settings that change a result are part of a directory's name, so a marker cannot vouch for other settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from speechllama.constants import UNITS_FILE
from speechllama.model.compressors import COMPRESSORS, DEFAULT_COMPRESSOR, Compressor, CompressorSettings
from speechllama.options import UsageError
from speechllama.recipe.front_end import SelectedFrontEnd
from speechllama.recipe.options import Options
from speechllama.recipe.system import CTC, ConfFolders, Config, Selection
from speechllama.text.tasks import TABLES, TASKS, CTCTarget, Task

TRANSCRIBE = "asr"  # the task whose texts a cascade translates
OWN = "own"  # in names: units and CTC head that the front end brings
CONTROL = "_control"  # ends the directory of a set decoded from the audio of other utterances


def decode_dir(system_dir: str, set_name: str, beam_size: int) -> str:
    """Name the hypotheses of a set."""
    return f"{system_dir}/decode_{set_name}_beam{beam_size}"


def table_dir(expdir: str) -> str:
    """Name the folder of the table of many systems."""
    return f"{expdir}/table"


@dataclass(frozen=True)
class Layout:
    """Paths of a run, from the recipe's directory.

    Attributes:
        options: The run's options.
        selection: Its system.
        folders: Where YAML files are looked for.
        front_end: Its front end.
    """

    options: Options
    selection: Selection
    folders: ConfFolders
    front_end: SelectedFrontEnd

    @property
    def task(self) -> Task:
        """What the selected system writes."""
        return TASKS[self.options.task]

    @property
    def base_task(self) -> Task:
        """What is trained and decoded: of a cascade, its transcripts."""
        return TASKS[TRANSCRIBE] if self.selection.cascade else self.task

    @cached_property
    def ctc(self) -> Config:
        """YAML of CTC training."""
        return self.folders.read(CTC)

    @cached_property
    def llm(self) -> Config | None:
        """YAML of the LLM that the recipe trains itself; None if it trains none."""
        is_own = not self.options.llm and not self.selection.scratch_llm and self.folders.has("llm")
        return self.folders.read("llm") if is_own else None

    @property
    def _size(self) -> str:
        return f"_{self.folders.size}" if self.folders.size else ""

    # --- data, features, units

    def data(self, set_name: str, table: str = "") -> str:
        """Name a data directory of stage data, or a further one of the user's, or a table in it."""
        folder = self.options.further_sets.get(set_name) or f"{self.options.datadir}/{set_name}"
        return folder + (f"/{table}" if table else "")

    @property
    def dumpdir(self) -> str:
        """Features of all sets."""
        return self.options.dumpdir + self.front_end.suffix

    def dump(self, set_name: str, table: str = "") -> str:
        """Name a data directory with features, or a table in it."""
        return f"{self.dumpdir}/{set_name}" + (f"/{table}" if table else "")

    @property
    def llm_text(self) -> str:
        """What the recipe's own LLM learns from."""
        return f"{self.options.downloads}/llm_text.tsv"

    def corpus_report(self, set_name: str) -> str:
        """Name what stage data kept and dropped; that of a further data directory is next to it, if there is one."""
        return f"{Path(self.data(set_name)).parent}/report.json"

    @property
    def ctc_target(self) -> CTCTarget:
        """What CTC learns; an encoder-decoder has one tokenizer for CTC and for what it writes."""
        if self.selection.system.is_seq2seq:
            return self.base_task.ctc_target
        return self.options.ctc_target  # type: ignore[return-value]  # checked by the option

    @property
    def ctc_table(self) -> str:
        """The table of a data directory that CTC learns."""
        return TABLES[self.ctc_target]

    @property
    def has_own_units(self) -> bool:
        """Whether the units are those of the front end's own CTC head; an encoder-decoder learns its own."""
        return self.front_end.has_ctc_head and not self.selection.system.is_seq2seq

    @cached_property
    def units(self) -> int:
        """SentencePiece units of CTC, or of what an encoder-decoder writes; not for `has_own_units`.

        Raises:
            UsageError: Neither an option nor a YAML says how many.
        """
        system = self.selection.system
        key, config, given = ("ctc_units", None, self.options.ctc_units)
        if system.is_seq2seq:
            key, config, given = "target_units", system.config, self.options.target_units
        config = config or self.ctc
        found = given or config.settings.get(key)
        if not found:
            raise UsageError(f"--{key} is needed: {config.path} has no {key}")
        return int(found)

    @property
    def _units_name(self) -> str:
        if self.has_own_units:
            return OWN
        prefix = "seq2seq_" if self.selection.system.is_seq2seq else ""
        return f"{prefix}{self.ctc_target}_bpe{self.units}"

    @property
    def tokenizer(self) -> str:
        """SentencePiece model of the units, or the record of those of the front end's own CTC head."""
        if self.has_own_units:
            return f"{self.options.datadir}/ctc_{OWN}{self.front_end.suffix}/{UNITS_FILE}"
        name = self._units_name if self.selection.system.is_seq2seq else f"ctc_{self._units_name}"
        return f"{self.options.datadir}/{name}/bpe.model"

    @property
    def stats_dir(self) -> str:
        """Mean, variance and lengths of the features."""
        return f"{self.options.expdir}/stats_{self._units_name}{self.front_end.suffix}"

    @property
    def cmvn(self) -> str:
        """Mean and standard deviation of the features."""
        return f"{self.stats_dir}/cmvn.npz"

    # --- CTC encoder and compressed features

    @property
    def ctc_dir(self) -> str:
        """Experiment of the CTC encoder; a head that comes with the front end has neither size nor seed."""
        if self.has_own_units:
            return f"{self.options.expdir}/ctc_{OWN}{self.front_end.suffix}"
        seed = self.ctc.seed_suffix(self.options.seed)
        name = f"ctc_{self.ctc_target}_bpe{self.units}{self.front_end.suffix}"
        return f"{self.options.expdir}/{name}{self._size}{seed}"

    @property
    def cached_compressor(self) -> tuple[Compressor, CompressorSettings]:
        """The compressor of the compress stage: the system's if it is cached, else the default, only for the report."""
        system = self.selection.system
        if system.is_cached:
            return system.compressor, system.compressor_settings
        record = COMPRESSORS[DEFAULT_COMPRESSOR]
        return record, record.settings()

    @property
    def compressed_dir(self) -> str:
        """Compressed features; their settings are in the name."""
        record, settings = self.cached_compressor
        return f"{self.ctc_dir}/compressed_{record.name}{settings.label()}"

    @property
    def learned_file(self) -> str:
        """What the compressor learns before anything is compressed; "" if it learns nothing."""
        record, _ = self.cached_compressor
        return f"{self.compressed_dir}/{record.learned_file}" if record.learned_file else ""

    @property
    def reads_cache(self) -> bool:
        """Whether the system trains and decodes from compressed features."""
        return self.selection.system.is_cached and not self.options.from_features

    def compressed(self, set_name: str) -> str:
        """Name the compressed features of a set."""
        return f"{self.compressed_dir}/{set_name}"

    def part_of(self, set_name: str) -> str:
        """Name what is decoded of a set: the set, or with `--subset` a part of it, which is a set of its own."""
        number = self.options.subset
        return f"{set_name}_subset{number}" if number else set_name

    def llm_input(self, set_name: str, table: str = "") -> str:
        """Name the data directory that the LLM's training and decoding read, or a table in it."""
        folder = f"{self.compressed_dir if self.reads_cache else self.dumpdir}/{set_name}"
        return folder + (f"/{table}" if table else "")

    @property
    def llm_input_table(self) -> tuple[str, str]:
        """The table with the audio, and what ESPnet calls it."""
        return ("compressed.scp", "compressed") if self.reads_cache else ("feats.scp", "speech")

    # --- experiments

    @property
    def _llm_name(self) -> str:
        """What the name of a given LLM adds to the names of directories."""
        name = self.options.llm.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
        return name + (f"_{self.options.revision}" if self.options.revision else "")

    @property
    def llm_dir(self) -> str:
        """The LLM's record."""
        name = "llm"
        if self.selection.scratch_llm:  # its tokenizer is that of the task's target
            return f"{self.options.expdir}/{name}_{self.selection.scratch_llm}{self._size}_{self.task.name}"
        if self.options.llm:
            return f"{self.options.expdir}/{name}_{self._llm_name}"
        seed = self.llm.seed_suffix(self.options.seed) if self.llm else ""
        return f"{self.options.expdir}/{name}{self._size}{seed}"

    @property
    def _seed_part(self) -> str:
        return self.front_end.suffix + self._size + self.selection.system.config.seed_suffix(self.options.seed)

    @property
    def _suffix(self) -> str:
        """The end of an experiment's name, which depends on the LLM and on CTC."""
        return self._settings_part + self._tag

    @property
    def _settings_part(self) -> str:
        suffix = self._seed_part
        if self.options.llm and not self.selection.scratch_llm:
            suffix += f"_{self._llm_name}"
        if self.options.ctc_target == "translation":
            suffix += "_ctc_translation"
        if self.selection.system.is_cached and self.options.from_features:
            suffix += "_from_features"
        return suffix

    @property
    def _adapter_part(self) -> str:
        """What the LoRA that a system starts from adds to its name, and not to that of its first system."""
        name = self.options.init_adapter.rstrip("/").rpartition("/")[2]
        return f"_from_{name}" if name else ""

    @property
    def _tag(self) -> str:
        return f"_{self.options.tag}" if self.options.tag else ""

    @property
    def base_dir(self) -> str:
        """Experiment of what is trained and decoded; without an LLM, its name does not depend on one."""
        system = self.selection.system
        has_llm = not (system.is_seq2seq or system.is_ctc)
        suffix = self._settings_part + self._adapter_part if has_llm else self._seed_part
        return f"{self.options.expdir}/{self.base_task.name}_{system.name}{suffix}{self._tag}"

    @property
    def system_dir(self) -> str:
        """Experiment of the selected system; a rescoring system and a cascade have their own besides `base_dir`."""
        if not self.selection.configs:
            return self.base_dir
        return f"{self.options.expdir}/{self.task.name}_{self.selection.name}{self._suffix}"

    @property
    def init_dir(self) -> str:
        """Experiment of the system that it starts from; "" without one."""
        init = self.selection.system.init
        return f"{self.options.expdir}/{self.base_task.name}_{init.name}{self._suffix}" if init else ""

    @property
    def beam_size(self) -> int:
        """Hypotheses of the search; CTC's text is greedy."""
        return self.options.beam_size if self.selection.cascade else self.base_beam_size

    @property
    def base_beam_size(self) -> int:
        """Hypotheses of the search of what is decoded, whose texts a cascade translates."""
        return 1 if self.selection.system.is_ctc else self.options.beam_size

    @property
    def tuned(self) -> str:
        """Weight and length norm of a rescoring system."""
        return f"{self.system_dir}/{self.part_of(f'rescoring_beam{self.options.beam_size}')}.json"

    @property
    def preflight_dir(self) -> str:
        """Report of stage preflight."""
        return f"{self.options.expdir}/preflight/{Path(self.system_dir).name}"

    def decoded(self, set_name: str, control: bool = False, part: str = "") -> str:
        """Name the hypotheses of the selected system, or of its control.

        Args:
            set_name: The set.
            control: Those of the control.
            part: Of a task with several parts, which one; "" for the one that ranks, whose name is that of any task.
        """
        folder = decode_dir(self.system_dir, set_name, self.beam_size) + self.part_suffix(part)
        return folder + (CONTROL if control else "")

    @property
    def teaching(self) -> str:
        """Name the hypotheses of the training set that a system writes as a teacher; they are never scored."""
        return f"{self.base_dir}/teach_train_beam{self.base_beam_size}"

    def taught_set(self, teacher: Layout) -> str:
        """Name the training set that has the texts of a teacher; a set of its own, next to the others."""
        return f"train_by_{Path(teacher.base_dir).name}_beam{teacher.base_beam_size}"

    def part_suffix(self, part: str) -> str:
        """What a part of the task's texts adds to a name; the part that ranks adds nothing."""
        return f".{part}" if part not in ("", self.task.ranked.name) else ""

    def output(self, set_name: str, control: bool = False) -> str:
        """Name the outputs of a task with several parts in each, which are then taken apart."""
        return f"{self.system_dir}/output_{set_name}_beam{self.beam_size}" + (CONTROL if control else "")

    def decoded_base(self, set_name: str, control: bool = False) -> str:
        """Name the hypotheses of what is decoded, which a rescoring system or a cascade reads."""
        return decode_dir(self.base_dir, set_name, self.base_beam_size) + (CONTROL if control else "")

    @property
    def results(self) -> str:
        """The page of results of all systems."""
        return f"{self.options.expdir}/RESULTS.md"
