"""What the cases of tools/stress_input.py are made of: a trained recipe, the commands that read its files, the counts.

TinyRecipe -> Materials -> (cases.py) Prepared(files, chains of commands, what is lost)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from speechllama.config import read_config
from speechllama.data.audio import read_audio
from speechllama.data.data_dir import DataDir, read_data_dir, write_data_dir
from speechllama.data.skipped import read_skipped
from speechllama.files import read_table
from tools.stress.forked import Call, run_chain
from tools.stress.recipe import RECIPE, TinyRecipe

SECONDS = 60.0
COPIED_AUDIO = (".wav", ".flac", ".ogg")  # next to the corpus's mp3


def nothing_lost(ended: Sequence[str]) -> str:
    """Of commands that write no utterances."""
    return ""


@dataclass(frozen=True)
class Prepared:
    """A case before a file is damaged.

    Attributes:
        files: One of them will be.
        chains: Commands that read it; each chain ends at its first refusal.
        lost: What each chain printed -> what has disappeared without being counted, "" if nothing;
            called when all ended well.
        named_as: Further names of the damaged file in messages: the folder of a model that a library reads as a whole.
    """

    files: list[Path]
    chains: list[list[Call]]
    lost: Callable[[Sequence[str]], str] = nothing_lost
    named_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Materials:
    """The tiny recipe, trained, and more files made of it.

    Attributes:
        recipe: The recipe.
        folder: Where the further files are.
    """

    recipe: TinyRecipe
    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "done").is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            _make_clips(self)
            _make_segments(self)
            _make_configs(self)
            _tune_and_export(self)
            (self.folder / "done").touch()

    @property
    def base(self) -> Path:
        """The recipe's folder."""
        return self.recipe.folder

    @property
    def exp(self) -> Path:
        """Its experiments."""
        return self.base / "exp"

    @property
    def ctc(self) -> Path:
        """Its CTC experiment."""
        return self.exp / "ctc_transcript_bpe80"

    @property
    def tokenizer(self) -> Path:
        """Its CTC units."""
        return self.base / "data" / self.ctc.name / "bpe.model"

    @property
    def compressed(self) -> Path:
        """Its cache of the test set."""
        return self.ctc / "compressed_frame_average" / "test"

    @property
    def llm(self) -> Path:
        """Its LLM, as transformers wrote it."""
        return self.exp / "llm" / "model"

    @property
    def clip(self) -> Path:
        """A recording."""
        return Path(sorted(read_table(self.base / "data/test/wav.scp").values())[0])


def _make_clips(made: Materials) -> None:
    """A data directory of one mp3 and of the same recording in other formats."""
    import soundfile

    folder = made.folder / "clips"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(made.clip, folder / "clip.mp3")
    for suffix in COPIED_AUDIO:
        soundfile.write(folder / f"clip{suffix}", read_audio(made.clip), 16000)
    names = [f"clip{suffix}" for suffix in (".mp3", *COPIED_AUDIO)]
    tables = {"wav.scp": {name: str(folder / name) for name in names}, "utt2spk": dict.fromkeys(names, "clip")}
    tables |= {table: dict.fromkeys(names, "a text") for table in ("text", "src_text")}
    tables |= {"utt2lang": dict.fromkeys(names, "de"), "utt2dur": dict.fromkeys(names, "2.0")}
    write_data_dir(DataDir(folder, tables), folder / "data")


def _make_segments(made: Materials) -> None:
    """The test set with segments: two of each recording."""
    data = read_data_dir(made.base / "data/test")
    seconds = {utt: float(value) for utt, value in data.table("utt2dur").items()}
    halves = {f"{utt}-{part}": (utt, part) for utt in data.utterances for part in (0, 1)}
    tables = {
        name: {half: value for half, (utt, _) in halves.items() for value in [data.table(name)[utt]]}
        for name in ("text", "src_text", "utt2spk", "utt2lang")
    }
    tables["utt2dur"] = {half: f"{seconds[utt] / 2:.3f}" for half, (utt, _) in halves.items()}
    tables["segments"] = {
        half: f"{utt} {part * seconds[utt] / 2:.3f} {(part + 1) * seconds[utt] / 2:.3f}"
        for half, (utt, part) in halves.items()
    }
    tables["wav.scp"] = dict(data.table("wav.scp"))
    write_data_dir(DataDir(made.folder, tables), made.folder / "segmented")


def _make_configs(made: Materials) -> None:
    """Each YAML with what it includes, as one file."""
    conf = made.folder / "conf"
    conf.mkdir(exist_ok=True)
    search = f"{RECIPE / 'conf'}:{RECIPE.parent / 'TEMPLATE/conf'}"
    for name in ("ctc", "e5", "e6", "b2", "llm"):
        place = next(path for path in (Path(part) / f"{name}.yaml" for part in search.split(":")) if path.is_file())
        (conf / f"{name}.yaml").write_text(yaml.safe_dump(read_config(place, search), sort_keys=False))


def _tune_and_export(made: Materials) -> None:
    """The settings of rescoring, and the LoRA adapters of E6 in peft's form."""
    export = call("export", exp_dir=made.exp / "st_e6", adapter=made.folder / "adapter")
    calls = [tuning(made, made.exp / "st_e6/decode_test_beam2", made.folder), export]
    last, ended = run_chain(calls, made.folder, SECONDS)
    if ended.how != "done":
        raise RuntimeError(f"{last}: {ended.text[-2000:]}")


def call(entry: str, **options: object) -> Call:
    """A command from its options; a list gives an option several values."""
    words: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name}", *(str(each).lower() if isinstance(each, bool) else str(each) for each in values)]
    return Call(entry, tuple(words))


def tuning(made: Materials, decoded: Path, out: Path) -> Call:
    """tune_rescoring of a decoded test set."""
    return call(
        "tune_rescoring",
        config=made.folder / "conf/b2.yaml",
        llm_dir=made.exp / "llm",
        decode_dir=decoded,
        data_dir=made.base / "dump/test",
        output_file=out / "rescoring.json",
    )


def decoding(made: Materials, out: Path, data: Path | None = None) -> Call:
    """Decode the test set, from its cache."""
    places = {"exp_dir": made.exp / "st_e6", "data_dir": data or made.compressed, "output_dir": out / "decoded"}
    return call("decode", **places, beam_size=2, nbest=2, batch_size=4, max_tokens=5)


def translating(model: Path, clip: Path) -> Call:
    """Translate one file."""
    return Call("translate", (str(clip), "--model", str(model), "--beam_size", "1", "--max_tokens", "3"))


def features(data: Path, out: Path) -> list[Call]:
    """Compute features of a data directory; any number of its recordings may be bad."""
    places = {"data_dir": data, "output_dir": out / "dump", "max_bad_share": 1.0}
    return [call("make_features", **places), call("merge_parts", **places)]


def compressing(made: Materials, out: Path, dump: Path, tokenizer: Path) -> list[Call]:
    """Compress the features of a data directory."""
    cache = out / "compressed"
    write = call("ctc_compress", ctc_dir=made.ctc, data_dir=dump, output_dir=cache, tokenizer=tokenizer)
    return [write, call("merge_parts", name="compressed", data_dir=dump, output_dir=cache)]


def statistics(out: Path, dump: Path, tokenizer: Path) -> Call:
    """Statistics of a data directory, as training and dev set."""
    return call("collect_stats", train_dir=dump, dev_dir=dump, tokenizer=tokenizer, output_dir=out / "stats")


def missing(expected: Sequence[str] | set[str], *found: Path, skipped: Path | None = None) -> str:
    """Name the utterances that a table lacks though nothing says that they were left out."""
    reported = set(read_skipped(skipped)) if skipped else set()
    lost = [f"{path.name}: {utt}" for path in found for utt in expected if utt not in {*read_table(path), *reported}]
    return f"{len(lost)} lost: {', '.join(lost[:3])}" if lost else ""


def count_lines(path: Path) -> int:
    """Rows of a table: lines that are not empty, but for the first."""
    return sum(bool(line.strip()) for line in path.read_bytes().split(b"\n")[1:])


def lost_rows(report: Path, tables: dict[str, list[Path]]) -> str:
    """Rows of a corpus's tables that report.json does not count: kept + dropped must be all.

    Args:
        report: report.json.
        tables: By language, Common Voice's table and CoVoST 2's.
    """
    lost = []
    for name, entry in json.loads(report.read_text(encoding="utf-8"))["languages"].items():
        dropped = {reason: drop["count"] for reason, drop in entry["dropped"].items()}
        clips, texts = (count_lines(path) for path in tables[name])
        if entry["rows"] + dropped.get("bad row in validated.tsv", 0) != clips:
            lost.append(f"{tables[name][0]}: {clips} rows, {entry['rows']} counted")
        splits = entry["splits"].values()
        counted = sum(split["rows"] for split in splits) + dropped.get("unknown split", 0)
        if counted + dropped.get("bad row in CoVoST 2's table", 0) != texts:
            lost.append(f"{tables[name][1]}: {texts} rows, {counted} counted")
        for split in splits:
            gone = sum(drop["count"] for drop in split["dropped"].values())
            if split["rows"] != split["kept"] + gone:
                lost.append(f"{name}: {split['rows']} rows, kept {split['kept']}, dropped {gone}")
    return "; ".join(lost)


def copy_dir(source: Path, target: Path, *names: str) -> list[Path]:
    """Copy the small files of a folder, not those in folders below; those named are the ones to damage."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".ark":
            shutil.copy2(path, target / path.name)
    return [target / name for name in names]
