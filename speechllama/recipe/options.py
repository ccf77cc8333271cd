"""The options of a recipe: those of a run, and those of a table of many systems.

    run.sh's own settings + the user's words -> Options, or every fault in one message

To add an option, add a field. Only the standard library is needed, so that `--help` works on a bare machine.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllama.constants import DEFAULT_FRONT_END, SPLITS
from speechllama.corpora.covost2.options import DIRECTIONS, EN_X, X_EN, english_targets
from speechllama.options import (
    UsageError,
    at_least_one,
    not_empty,
    one_of,
    option,
    well_quoted,
    whole_number,
    whole_numbers,
)
from speechllama.text.targets import DEFAULT_TARGET, TARGETS

ENGLISH = "en"

FURTHER_OPTIONS = "Further options of single commands, read as a shell reads them (those of training override the YAML)"
# Options with a path of the user's, which is relative to where the user is, not to the recipe.
# Those that say where a corpus is. A recipe takes those of its kind of corpus; one of its own takes `corpus`.
CORPUS_PLACES = ("corpus", "common_voice", "covost2", "librispeech")
PLACES = (
    *CORPUS_PLACES,
    "frontend_path",
    "llm",
    "init_adapter",
    "token_file",
    "python",
    "cmd",
    "comet_model",
    "comet_python",
)
# Options with several words, of which those with a slash are such paths.
LISTS_OF_PLACES = ("sets",)
# Options of run.sh that the rows of a table set themselves.
OF_A_ROW = ("system", "seed")
# Folders that another target language than English, and a translation from English, have of their own.
OF_A_TARGET = ("datadir", "dumpdir", "expdir")


def known_task(value: str) -> str:
    """Refuse an unknown task."""
    from speechllama.text.tasks import TASKS

    return one_of(*TASKS)(value)


def known_target(value: str) -> str:
    """Refuse what is no target language."""
    return one_of(*TARGETS)(value)


def known_ctc_target(value: str) -> str:
    """Refuse what CTC cannot learn."""
    from speechllama.text.tasks import TABLES

    return one_of(*TABLES)(value)


def known_corpus(value: str) -> str:
    """Refuse an unknown kind of corpus."""
    from speechllama.recipe.corpora import CORPORA

    return one_of("", *CORPORA)(value)


def known_sets(value: str) -> str:
    """Refuse an empty list, and further data directories whose names are taken or odd."""
    names = [name_of_set(word) for word in value.split()]
    for word, name in zip(value.split(), names, strict=True):
        if (is_path(word) and name in SPLITS) or not re.fullmatch(r"[\w.-]*\w[\w.-]*", name):
            return f"data directory {word!r} needs a name of its own, of letters, digits, _ and -; found {name!r}"
    twice = sorted(name for name in {*names} if names.count(name) > 1)
    return f"set {twice[0]!r} is named more than once" if twice else not_empty(value)


def share(value: float) -> str:
    """Refuse what is no share."""
    return "" if 0 <= value <= 1 else f"expected a share from 0 to 1, found {value}"


def is_path(word: str) -> bool:
    """Whether a word of `--sets` is the path of a data directory, not the name of one below `--datadir`."""
    return "/" in word


def name_of_set(word: str) -> str:
    """Name a set of `--sets`: of a path its last part."""
    return word.rstrip("/").rpartition("/")[2]


def local_or_hub(value: str) -> str:
    """Refuse an LLM that is no directory with config.json, GGUF file or hub id, hours before the llm stage would."""
    path = Path(value)
    if not value or (path / "config.json").is_file() or (path.suffix == ".gguf" and path.is_file()):
        return ""
    if path.exists() or not re.fullmatch(r"[^./~][^/]*/[^/]+", value):
        return f"{value!r} is no directory with config.json, nor a hub id such as organisation/name"
    return ""


def comet_checkpoint(value: str) -> str:
    """Refuse what is no checkpoint of COMET that is here, and no repository on the hub."""
    if not value or Path(value).exists() or re.fullmatch(r"[^./~@][^/@]*/[^/@]+(@[^/@]+)?", value):
        return ""
    return f"{value!r} is no file or directory, nor a repository on the hub such as organisation/name@revision"


def adapter_directory(value: str) -> str:
    """Refuse what is no adapter, unless the directory is gone: a training that resumes does not need it again."""
    path = Path(value)
    if not value or not path.exists() or (path / "adapter_config.json").is_file():
        return ""
    return f"{value!r} is no directory with adapter_config.json and adapter_model.safetensors"


def places_of_others(options: Options) -> set[str]:
    """Options that say where corpora of other recipes are; the help of this one leaves them out."""
    from speechllama.recipe.corpora import CORPORA

    own = CORPORA[options.corpus_kind].places if options.corpus_kind else ("corpus",)
    return set(CORPUS_PLACES) - set(own)


@dataclass(frozen=True)
class Options:
    """The options of a run; every recipe has the same options and its own defaults for some."""

    # Which stages
    stage: int = option(0, "first stage; 0 checks what can be checked before hours are spent", group="Which stages")
    stop_stage: int = option(99, "last stage; by default all")
    list: bool = option(False, "list the stages and whether they are finished, and stop")
    dry_run: bool = option(False, "print the commands instead of running them, stage `preflight` excepted")
    help: bool = option(False, "print this help")
    # The experiment
    task: str = option(
        "st",
        "what to write: st (translation), asr (recognition), cot (transcript, then translation), joint (both tasks) or "
        "lid (the language)",
        known_task,
        "The experiment",
    )
    system: str = option("e6", "the system to train and score: conf/SYSTEM.yaml, here or in TEMPLATE", not_empty)
    size: str = option("", "look for YAML files in conf/SIZE first")
    frontend: str = option(DEFAULT_FRONT_END, "what computes features: conf/frontend/FRONTEND.yaml", not_empty)
    frontend_path: str = option("", "the front end's weights, directory or hub id, if not those that its YAML names")
    langs: str = option("", "source languages, separated by spaces; or --source_lang", not_empty, also="source_lang")
    target_lang: str = option(
        DEFAULT_TARGET,
        "language of the translations; one other than en has data_LANG, dump_LANG, exp_LANG",
        known_target,
    )
    llm: str = option(
        "", "LLM: Hugging Face directory, hub id or GGUF file; empty: the recipe's own, by llm.yaml", local_or_hub
    )
    revision: str = option("", "revision of a hub LLM")
    token_file: str = option("", "file with the hub's token, for a gated LLM; or put the token into HF_TOKEN")
    ctc_target: str = option("transcript", "what CTC learns: transcript or translation", known_ctc_target)
    ctc_units: str = option("", "SentencePiece units of CTC; empty: what ctc.yaml says", whole_number)
    target_units: str = option("", "units of what an encoder-decoder writes; empty: what its YAML says", whole_number)
    seed: str = option(
        "", "seed of trainings and units; empty: that of each YAML; the corpus has its own", whole_number
    )
    init_adapter: str = option("", "LoRA that stage lora starts from: a directory in peft's form", adapter_directory)
    max_blank_share: float = option(
        1.0,
        "stage compress fails if CTC writes nothing for more of the utterances of a set; from 0.1 on it warns",
        share,
    )
    from_features: bool = option(False, "train and decode from features, without the cache: slower, other batches")
    tag: str = option("", "appended to the system's experiment directory, to tell trials apart")
    # Corpus
    corpus_kind: str = option(
        "",
        "a known corpus, or form of corpora: iwslt, tsv, datasets, lhotse; empty: local/ knows it",
        known_corpus,
        "Corpus",
    )
    corpus: str = option("", "folder, URL or hub id of the corpus; remembered until another one is given")
    common_voice: str = option(
        "", "Common Voice: DIR/<lang>/{validated.tsv,clips}, or archives [DOWNLOADS/common_voice]"
    )
    covost2: str = option("", "directory or URL of covost_v2.<lang>_en.tsv or .tsv.tar.gz [DOWNLOADS/covost2]")
    direction: str = option(
        X_EN, "CoVoST 2: x_en, or en_x: English into --target_lang, or else into each of --langs", one_of(*DIRECTIONS)
    )
    librispeech: str = option("", "LibriSpeech: folder or URL of its parts or their archives [DOWNLOADS/librispeech]")
    data_options: str = option(
        "", "further options of local/data.sh (its --help), read as a shell reads them", well_quoted
    )
    allow_commands: bool = option(False, "run the commands that a wav.scp may have in place of paths; trust them first")
    # Further options of single commands
    feature_options: str = option("", "of stage features, such as '--max_bad_share 0.2'", well_quoted, FURTHER_OPTIONS)
    ctc_options: str = option("", "of CTC training, such as '--max_epoch 5'", well_quoted)
    llm_options: str = option(
        "", "of stage llm: of the recipe's own LLM's training, or '--dtype float32' of a GGUF file", well_quoted
    )
    train_options: str = option("", "of audio-encoder and LoRA training", well_quoted)
    decode_options: str = option("", "of decode, such as '--no_repeat_ngram_size 4'", well_quoted)
    # Averaging, decoding, scoring
    num_best: int = option(3, "best epochs of the system to average", at_least_one, "Averaging, decoding, scoring")
    ctc_num_best: int = option(3, "best epochs of CTC to average; both at most keep_nbest_models", at_least_one)
    sets: str = option(
        "test",
        "sets to decode and score: train, dev, test, others in --datadir, or paths of data directories",
        known_sets,
    )
    subset: int = option(0, "decode and score only so many utterances of each set, spread over it; 0: all")
    bleu_tokenizer: str = option("", "tokenizer of BLEU, of sacreBLEU's; empty: that of the target language")
    comet_model: str = option(
        "", "score COMET with this checkpoint, directory or repository on the hub, NAME[@REVISION]", comet_checkpoint
    )
    comet_python: str = option("", "interpreter of an environment with unbabel-comet; empty: the recipe's own")
    beam_size: int = option(4, "1 is greedy", at_least_one)
    batch_size: int = option(16, "utterances decoded together", at_least_one)
    pack_llm: bool = option(False, "put the LLM's weights into the packed model, too")
    # The machine
    cmd: str = option("", "file that says where jobs run [cmd.sh of the recipe, else TEMPLATE's]", group="The machine")
    nj: int = option(2, "parallel jobs of data work", at_least_one)
    decode_nj: int = option(0, "parallel jobs of compression and decoding; 0: a job a GPU, or nj without GPUs")
    ngpu: int = option(0, "GPUs of each node; 0 runs everything on the CPU")
    num_nodes: int = option(1, "nodes that share a training (launcher=slurm)", at_least_one)
    python: str = option("", "interpreter to make the environment with, where it must be made")
    # Where things are written, from the recipe's directory
    datadir: str = option(
        "data", "data directories", not_empty, "Where things are written, from the recipe's directory"
    )
    dumpdir: str = option("dump", "features", not_empty)
    expdir: str = option("exp", "experiments", not_empty)
    downloads: str = option(
        "downloads", "what is fetched, unpacked or made; corpora are looked for here by default", not_empty
    )

    def __post_init__(self) -> None:
        """Give another target language folders of its own: its texts, and so units and experiments, are different."""
        suffix = f"_{self.target_lang}" if self.target_lang != DEFAULT_TARGET else ""
        if self.direction == EN_X:
            suffix = f"_{ENGLISH}{suffix or '_x'}"
        for field in dataclasses.fields(Options) if suffix else ():
            if field.name in OF_A_TARGET and getattr(self, field.name) == field.default:
                object.__setattr__(self, field.name, f"{field.default}{suffix}")

    @property
    def set_names(self) -> tuple[str, ...]:
        """The sets that are decoded and scored."""
        return tuple(map(name_of_set, self.sets.split()))

    @property
    def further_sets(self) -> dict[str, str]:
        """Those of them that are not train, dev or test: name and data directory."""
        words = {name_of_set(word): word.rstrip("/") for word in self.sets.split() if word not in SPLITS}
        return {name: word if is_path(word) else f"{self.datadir}/{name}" for name, word in words.items()}

    @property
    def target_words(self) -> tuple[str, ...]:
        """What names the target language to a command that takes English unless told otherwise."""
        return ("--target_lang", self.target_lang) if self.target_lang != DEFAULT_TARGET else ()

    @property
    def direction_words(self) -> tuple[str, ...]:
        """What says to stage data that English is translated; other corpora have no such option."""
        return ("--direction", self.direction) if self.direction != X_EN else ()

    @property
    def language_pairs(self) -> tuple[tuple[str, str], ...]:
        """Source and target languages, as the options say them."""
        languages = tuple(self.langs.split())
        targets = english_targets(self.direction, languages, self.target_lang)
        if targets:
            return tuple((ENGLISH, target) for target in targets)
        return tuple((language, self.target_lang) for language in languages)

    @property
    def reading_words(self) -> tuple[str, ...]:
        """What allows the commands of wav.scp to a command that reads recordings or checks them."""
        return ("--allow_commands", "true") if self.allow_commands else ()

    @property
    def num_processes(self) -> int:
        """Processes that share a training, and its batches."""
        return max(1, self.ngpu) * self.num_nodes

    @property
    def decode_jobs(self) -> int:
        """Parallel jobs of compression and decoding."""
        return self.decode_nj or (self.ngpu * self.num_nodes if self.ngpu else self.nj)


@dataclass(frozen=True)
class TableOptions:
    """What run_table.sh takes besides the options of run.sh."""

    systems: str = option("", "rows: systems and, after colons, variants (e6:asr)", not_empty, group="The table")
    seeds: str = option("1", "seeds, separated by spaces", whole_numbers)
    reference: str = option("e6", "the row that all others are compared with")


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line of run_table.sh: the table's own options, and those of run.sh.

    Raises:
        UsageError: An option that the rows set themselves.
    """
    own_names = {field.name for field in dataclasses.fields(TableOptions)}
    own: list[str] = []
    further: list[str] = []
    target = further
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            if name in OF_A_ROW:
                raise UsageError(f"--{name}: rows are named by --systems and --seeds")
            target = own if name in own_names else further
        target.append(word)
    return own, further
