"""The kinds of files that tools/stress_input.py damages; to add one, write a function and put it into KINDS.

Materials, empty folder -> Prepared
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from speechllama.data.skipped import read_skipped
from speechllama.files import read_table
from tools.stress.forked import Call
from tools.stress.kinds import (
    Materials,
    Prepared,
    call,
    compressing,
    copy_dir,
    decoding,
    features,
    lost_rows,
    missing,
    statistics,
    translating,
    tuning,
)

LANGUAGES = ("de", "es", "fr")


def tsv(made: Materials, out: Path) -> Prepared:
    """Tables of a corpus."""
    voice, texts = made.base / "downloads/common_voice", made.base / "downloads/covost2"
    tables = {name: [voice / name / "validated.tsv", texts / f"covost_v2.{name}_en.tsv"] for name in LANGUAGES}
    places = {"common_voice": voice, "covost2": texts, "datadir": out / "data", "downloads": out / "downloads"}
    shares = {"max_bad_share": 1.0, "max_missing_share": 1.0}
    prepare = call("prepare_data", langs=" ".join(LANGUAGES), **places, **shares)
    prepare = type(prepare)(prepare.name, ("covost2", *prepare.words))
    return Prepared(tables["de"], [[prepare]], lambda _: lost_rows(out / "data/report.json", tables))


def llm_text(made: Materials, out: Path) -> Prepared:
    """The text on which a recipe trains its own LLM."""
    text = out / "llm_text.tsv"
    shutil.copyfile(made.base / "downloads/llm_text.tsv", text)
    places = {"config": made.folder / "conf/llm.yaml", "text": text, "dev_dir": made.base / "data/dev"}
    return Prepared([text], [[call("train_text_llm", **places, output_dir=out / "llm", num_steps=2)]])


def audio(made: Materials, out: Path) -> Prepared:
    """Recordings in several formats: each gets features, or is skipped with its name."""
    clips = sorted((made.folder / "clips").glob("clip.*"))

    def lost(_: Sequence[str]) -> str:
        skipped = read_skipped(out / "dump/skipped")
        unnamed = [utt for utt, skip in skipped.items() if utt not in skip.detail]  # which are the files' names
        if unnamed:
            return f"skipped without the file's name: {unnamed}"
        return missing([clip.name for clip in clips], out / "dump/feats.scp", skipped=out / "dump/skipped")

    return Prepared(clips, [features(made.folder / "clips/data", out)], lost)


def clip(made: Materials, out: Path) -> Prepared:
    """A recording that is translated."""
    path = out / "clip.mp3"
    shutil.copyfile(made.clip, path)

    def lost(printed: Sequence[str]) -> str:
        is_said = str(path) in printed[0]  # its text, or that nothing was heard
        return "" if is_said else "no line for the file, and exit status 0"

    return Prepared([path], [[translating(made.exp / "st_e6", path)]], lost)


def wav_scp(made: Materials, out: Path) -> Prepared:
    """Where the recordings are."""
    return _tables(made.base / "data/test", out, "wav.scp")


def text(made: Materials, out: Path) -> Prepared:
    """Texts, and other tables of a data directory."""
    return _tables(made.base / "data/test", out, "text", "src_text", "utt2spk", "utt2lang")


def utt2dur(made: Materials, out: Path) -> Prepared:
    """Durations."""
    return _tables(made.base / "data/test", out, "utt2dur")


def segments(made: Materials, out: Path) -> Prepared:
    """Segments of recordings."""
    return _tables(made.folder / "segmented", out, "segments", "wav.scp")


def _tables(source: Path, out: Path, *names: str) -> Prepared:
    """Tables of a data directory with recordings: checked, and features made of what they say."""
    data = out / "data"
    files = copy_dir(source, data, *names)
    expected = set(read_table(source / "utt2spk"))

    def lost(_: Sequence[str]) -> str:
        return missing(expected, out / "dump/feats.scp", out / "dump/text", skipped=out / "dump/skipped")

    return Prepared(files, [[call("validate_data_dir", data_dir=data)], features(data, out)], lost)


def scp(made: Materials, out: Path) -> Prepared:
    """Tables of a data directory with features."""
    dump = out / "dump"
    files = copy_dir(made.base / "dump/test", dump, "feats.scp", "utt2num_frames", "frontend.json", "src_text")
    return _features(made, out, dump, files)


def ark(made: Materials, out: Path) -> Prepared:
    """Features."""
    return _features(made, out, made.base / "dump/test", [made.base / "dump/test/feats.1.ark"])


def _features(made: Materials, out: Path, dump: Path, files: list[Path]) -> Prepared:
    """Features: compressed, and counted."""
    expected = set(read_table(made.base / "dump/test/utt2spk"))

    def lost(_: Sequence[str]) -> str:
        cache = missing(expected, out / "compressed/ctc_hyp", out / "compressed/compressed.scp")
        shapes = [out / "stats/train/speech_shape", out / "stats/train/text_shape"]
        return cache or missing(expected, *shapes, skipped=out / "stats/train/skipped")

    chains = [compressing(made, out, dump, made.tokenizer), [statistics(out, dump, made.tokenizer)]]
    return Prepared(files, chains, lost)


def compressed(made: Materials, out: Path) -> Prepared:
    """The cache of compressed features."""
    cache = out / "cache"
    files = copy_dir(made.compressed, cache, "compressed.scp", "utt2dur", "compressed.1.done", "utt2lang")
    files += [made.compressed / "compressed.1.ark"] * 2
    return _decoded(made, Prepared(files, [[decoding(made, out, cache)]]), out)


def _decoded(made: Materials, prepared: Prepared, out: Path) -> Prepared:
    """A case whose commands decode the test set: every utterance must have a text."""
    expected = set(read_table(made.compressed / "utt2spk"))
    chains, named_as = prepared.chains, prepared.named_as
    return Prepared(prepared.files, chains, lambda _: missing(expected, out / "decoded/text"), named_as)


def training_data(made: Materials, out: Path) -> Prepared:
    """What a training reads."""
    stats = copy_dir(made.exp / "stats_transcript_bpe80/dev", out / "stats", "speech_shape", "text_shape")
    shutil.copyfile(made.exp / "stats_transcript_bpe80/cmvn.npz", out / "cmvn.npz")
    tables = copy_dir(made.base / "dump/dev", out / "dump", "feats.scp", "src_text")
    train = ctc_training(made, out, made.folder / "conf/ctc.yaml")
    return Prepared([*stats, out / "cmvn.npz", *tables], [[train]])


def ctc_training(made: Materials, out: Path, config: Path) -> Call:
    """Train an epoch of CTC on the dev set, from `out` where it has the files."""
    has_own = (out / "dump").is_dir()
    dump = out / "dump" if has_own else made.base / "dump/dev"
    stats = out / "stats" if has_own else made.exp / "stats_transcript_bpe80/dev"
    cmvn = out / "cmvn.npz" if has_own else made.exp / "stats_transcript_bpe80/cmvn.npz"
    words = ["--config", config, "--output_dir", out / "ctc", "--tokenizer", made.tokenizer, "--cmvn_file", cmvn]
    for side in ("train", "valid"):
        for table in ("feats.scp,speech,kaldi_ark", "src_text,text,text"):
            words += [f"--{side}_data_path_and_name_and_type", dump / table]
        words += [part for name in ("speech", "text") for part in (f"--{side}_shape_file", stats / f"{name}_shape")]
    words += ["--max_epoch", 1, "--resume", "true", "--use_matplotlib", "false", "--use_tensorboard", "false"]
    return Call("ctc_train", tuple(map(str, words)))


def llm_training(made: Materials, out: Path, config: Path, max_epoch: int = 1, stage: str = "train") -> list[Call]:
    """Train audio encoder and so on for some epochs, in <out>/system."""
    replaced: dict[str, object] = {
        "--config": config,
        "--output_dir": out / "system",
        "--output_file": out / "llm_stats/train",
    }
    replaced |= {"--max_epoch": max_epoch, "--conf_path": ""}
    calls = []
    for planned in made.recipe.commands(stage):
        words, last = [], ""
        for word in planned.words:
            words.append(str(replaced.get(last, word)))
            last = word
        calls.append(Call(planned.name, tuple(words)))
    return calls


def adapter(made: Materials, out: Path) -> Prepared:
    """Somebody's LoRA adapters, from which a training starts."""
    names = ("adapter_model.safetensors", "adapter_config.json")
    files = copy_dir(made.folder / "adapter", out / "adapter", *names)
    *_, train = llm_training(made, out, made.folder / "conf/e6.yaml", stage="lora")
    chain = [Call(train.name, (*train.words, "--init_adapter", str(out / "adapter")))]
    return Prepared(files, [chain], named_as=(str(out / "adapter"),))


def config_yaml(made: Materials, out: Path) -> Prepared:
    """A system's YAML."""
    files = [out / "ctc.yaml", out / "e5.yaml"]
    for path in files:
        shutil.copyfile(made.folder / "conf" / path.name, path)
    trainings = llm_training(made, out, files[1])[1:]
    return Prepared(files, [[ctc_training(made, out, files[0])], trainings])


def experiment(made: Materials, out: Path) -> Prepared:
    """The settings of an experiment."""
    return _decoded(
        made, Prepared([made.exp / "st_e6/config.yaml", made.ctc / "config.yaml"], [[decoding(made, out)]]), out
    )


def checkpoint(made: Materials, out: Path) -> Prepared:
    """Averaged weights, which decoding reads."""
    return _decoded(
        made, Prepared([made.exp / "st_e6/model.pth", made.ctc / "model.pth"], [[decoding(made, out)]]), out
    )


def resumed(made: Materials, out: Path) -> Prepared:
    """What a training resumes from."""
    folder = out / "system"
    names = [
        "checkpoint.pth",
        "checkpoint.pth",
        "checkpoint.previous.pth",
        "2epoch.pth",
        "config.yaml",
        "training.json",
    ]
    files = copy_dir(made.exp / "st_e5", folder, *names)
    chain = [*llm_training(made, out, made.folder / "conf/e5.yaml", 3)[1:], call("average_checkpoints", exp_dir=folder)]
    return Prepared(files, [chain], lambda _: "" if (folder / "3epoch.pth").is_file() else "no third epoch")


def tokenizer(made: Materials, out: Path) -> Prepared:
    """CTC units."""
    return _features(made, out, made.base / "dump/test", [made.tokenizer])


def llm_tokenizer(made: Materials, out: Path) -> Prepared:
    """The LLM's tokenizer."""
    return _llm(made, out, "tokenizer.json", "tokenizer_config.json")


def llm_config(made: Materials, out: Path) -> Prepared:
    """The LLM's settings, and the record of it."""
    prepared = _llm(made, out, "config.json", "generation_config.json")
    prepared.files.append(made.exp / "llm/llm.json")
    return prepared


def safetensors(made: Materials, out: Path) -> Prepared:
    """The LLM's weights."""
    return _llm(made, out, "model.safetensors")


def _llm(made: Materials, out: Path, *names: str) -> Prepared:
    """Files of an LLM, which transformers reads as a folder: prepared, and decoded with."""
    chains = [[call("prepare_llm", llm=made.llm, output_dir=out / "llm")], [decoding(made, out)]]
    return _decoded(made, Prepared([made.llm / name for name in names], chains, named_as=(str(made.exp / "llm"),)), out)


def packed(made: Materials, out: Path) -> Prepared:
    """A packed model."""
    path = out / "packed.zip"
    shutil.copyfile(made.exp / "st_e6/packed.zip", path)
    return Prepared([path], [[translating(path, made.clip)]], named_as=(str(out / "packed.unpacked"),))


def nbest(made: Materials, out: Path) -> Prepared:
    """A decoded set, which is scored and rescored."""
    decoded = out / "st_e6/decode_test_beam2"
    files = copy_dir(made.exp / "st_e6/decode_test_beam2", decoded, "nbest.jsonl", "nbest.jsonl", "decode.json", "text")
    places = {"data_dir": made.base / "dump/test"}
    rescored = out / "rescored"
    rescore = call(
        "rescore", settings=made.folder / "rescoring.json", decode_dir=decoded, output_dir=rescored, **places
    )
    control = made.exp / "st_e6/decode_test_beam2_control"
    score = call("score", hyp_dir=decoded, control_dir=control, **places)
    expected = set(read_table(made.base / "dump/test/utt2spk"))
    chains = [[tuning(made, decoded, out)], [rescore], [score]]
    return Prepared(files, chains, lambda _: missing(expected, rescored / "text"))


def nbest_part(made: Materials, out: Path) -> Prepared:
    """What an interrupted decoding left."""
    decoded = out / "decoded"
    decoded.mkdir()
    shutil.copyfile(made.exp / "st_e6/decode_test_beam2/nbest.jsonl", decoded / "nbest.1.jsonl")
    return _decoded(made, Prepared([decoded / "nbest.1.jsonl"], [resumed_decoding(made, out)]), out)


def resumed_decoding(made: Materials, out: Path) -> list[Call]:
    """Decode as the recipe does, so that the hypotheses there are of the same settings, but into another folder."""
    words = list(made.recipe.commands("decode")[0].words)
    words[words.index("--output_dir") + 1] = str(out / "decoded")
    return [Call("decode", tuple(words))]


def report(made: Materials, out: Path) -> Prepared:
    """Records that the page of results reads."""
    exp = out / "exp"
    files = copy_dir(made.exp / "st_e6/decode_test_beam2", exp / "st_e6/decode_test_beam2", "score.json", "decode.json")
    shutil.copyfile(made.exp / "st_e6/training.json", exp / "st_e6/training.json")
    shutil.copyfile(made.base / "data/report.json", out / "report.json")
    page = call("write_results", exp_dir=exp, title="stress")
    places = {"hyp_dir": exp / "st_e6/decode_test_beam2", "control_dir": made.exp / "st_e6/decode_test_beam2_control"}
    score = call("score", **places, data_dir=made.base / "dump/test", corpus_report=out / "report.json")
    return Prepared([*files, exp / "st_e6/training.json", out / "report.json"], [[page], [score]])


KINDS: dict[str, Callable[[Materials, Path], Prepared]] = {
    "TSV": tsv,
    "text of the LLM": llm_text,
    "mp3, wav, flac, ogg": audio,
    "mp3 translated": clip,
    "wav.scp": wav_scp,
    "text": text,
    "utt2dur": utt2dur,
    "segments": segments,
    "scp": scp,
    "ark": ark,
    "compressed": compressed,
    "training data": training_data,
    "YAML": config_yaml,
    "config.yaml": experiment,
    "model.pth": checkpoint,
    "checkpoint.pth": resumed,
    "adapter": adapter,
    "CTC units": tokenizer,
    "LLM tokenizer": llm_tokenizer,
    "LLM config.json": llm_config,
    "safetensors": safetensors,
    "packed zip": packed,
    "n-best": nbest,
    "n-best part": nbest_part,
    "records": report,
}
