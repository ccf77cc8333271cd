"""A tiny recipe, trained on noise: its stages as methods, with the entry points that a run calls.

noise -> data directories with features -> CTC encoder -> cache -> systems -> texts
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml

WORDS = ["der", "hund", "la", "femme", "el", "pan", "rot"]
SIZES = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}
MASKS = {"num_freq_masks": 0, "freq_width": 0, "num_time_masks": 0, "time_ratio": 0.0}
SEQ2SEQ_SIZES = {
    "conv_channels": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "dim": 16,
    "num_heads": 2,
    "ffn_dim": 32,
    "dropout": 0.0,
    "spec_augment": MASKS,
}
LORA = {"train": "lora", "lora": {"rank": 2}}
TRAINER = {
    "batch_type": "numel",
    "num_workers": 0,
    "optim": "adamw",
    "optim_conf": {"lr": 0.01},
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 2,
    "num_att_plot": 0,
    "max_epoch": 2,
}


def make_set(path: Path, num_utterances: int, seed: int, front_end: Any = None) -> None:
    """A data directory with features of noise, 0.6 to 1.2 s each, or with what a front end reads and its features."""
    from speechllama.data.ark import ark_writer, merge_parts
    from speechllama.data.data_dir import DataDir, write_data_dir
    from speechllama.data.features import Extraction, make_features
    from speechllama.files import read_table, write_table

    random = np.random.default_rng(seed)
    names = [f"de_{seed}-{index:03d}" for index in range(num_utterances)]
    texts = {name: " ".join(random.choice(WORDS, 3)) + f" {index}" for index, name in enumerate(names)}
    path.mkdir(parents=True)
    tables = {
        "text": {utt: text.title() for utt, text in texts.items()},
        "src_text": texts,
        "utt2spk": {utt: f"de_{seed}" for utt in texts},
        "utt2lang": dict.fromkeys(texts, "de"),
    }
    frames = {utt: int(random.integers(60, 120)) for utt in texts}
    tables["utt2dur"] = {utt: f"{count / 100:.2f}" for utt, count in frames.items()}
    if front_end is not None and front_end.record.reads == "features":
        with ark_writer(path / "given", "feats", 1) as write:
            for utt, count in frames.items():
                write(utt, random.normal(size=(count, front_end.settings.dim)).astype(np.float32))
        tables["feats.scp"] = read_table(path / "given/feats.1.scp")
    else:
        tables["wav.scp"] = {utt: str(path / f"{utt}.wav") for utt in texts}
    write_data_dir(DataDir(path / "data", tables), path / "data")
    if front_end is not None:
        for utt, wav in tables.get("wav.scp", {}).items():
            soundfile.write(wav, random.normal(size=160 * frames[utt]) * 0.1, 16000)
        make_features(path / "data", path / "dump", extraction=Extraction(front_end))
        merge_parts(path / "data", path / "dump", 1, "feats")
        return
    with ark_writer(path / "dump", "feats", 1) as write:
        for utt, count in frames.items():
            write(utt, random.normal(size=(count, 80)).astype(np.float32))
    write_table(path / "dump" / "utt2num_frames.1", {utt: str(count) for utt, count in frames.items()})
    merge_parts(path / "data", path / "dump", 1, "feats")


@contextlib.contextmanager
def hidden(path: Path) -> Iterator[None]:
    """Take a file or folder away for a while, to show that it is not needed."""
    place = path.with_name(f"{path.name}.hidden")
    path.rename(place)
    try:
        yield
    finally:
        place.rename(path)


class Recipe:
    """A recipe's folder; every method is one stage."""

    sizes, masks, lora = SIZES, MASKS, LORA
    ngpu = 0  # GPUs that stages take, or 1

    def __init__(self, root: Path, llm: Path, front_end: Any = None) -> None:
        from speechllama.bin import collect_stats
        from speechllama.files import read_table
        from speechllama.llm.record import prepare_llm
        from speechllama.text.tokenizer import train_tokenizer

        self.root = root
        for name, count in (("train", 12), ("dev", 4), ("test", 6)):
            make_set(root / name, count, len(name), front_end)
        train_tokenizer(list(read_table(root / "train/dump/src_text").values()), root / "bpe", 40)
        folders = ["--train_dir", str(root / "train/dump"), "--dev_dir", str(root / "dev/dump")]
        units = ["--tokenizer", str(root / "bpe/bpe.model")]
        collect_stats.main([*folders, *units, "--output_dir", str(root / "stats")])
        prepare_llm(str(llm), None, root / "llm")

    @property
    def device(self) -> list[str]:
        """The option that says where a stage computes."""
        return ["--ngpu", str(self.ngpu)]

    def config(self, name: str, **settings: object) -> str:
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**TRAINER, **settings}), encoding="utf-8")
        return str(path)

    def train_ctc(self, name: str, **settings: object) -> Path:
        from speechllama.bin import average_checkpoints, ctc_train

        encoder = {"conv_channels": 2, "transformer": SIZES, "spec_augment": MASKS}
        config = self.config(name, encoder_conf=encoder, batch_bins=40000, **settings)
        parts, kinds = ("train", "dev"), ("speech_shape", "text_shape")
        data = [self.data(f"{part}/dump", "feats.scp,speech,kaldi_ark", "src_text,text,text") for part in parts]
        shapes = [str(self.root / "stats" / part / kind) for part in parts for kind in kinds]
        ctc_train.main(
            ["--config", config, "--output_dir", str(self.root / name), "--resume", "true", *self.device]
            + ["--tokenizer", str(self.root / "bpe/bpe.model"), "--cmvn_file", str(self.root / "stats/cmvn.npz")]
            + self.options(data, [shapes[:2], shapes[2:]])
        )
        average_checkpoints.main(["--exp_dir", str(self.root / name), "--num_best", "2"])
        return self.root / name

    def compress(self, part: str, *more: str, name: str = "compressed") -> Path:
        from speechllama.bin import ctc_compress
        from speechllama.data.ark import merge_parts

        output = self.root / part / name
        ctc_compress.main(
            ["--ctc_dir", str(self.root / "ctc"), "--data_dir", str(self.root / part / "dump")]
            + ["--output_dir", str(output), "--tokenizer", str(self.root / "bpe/bpe.model"), "--batch_frames", "300"]
            + [*self.device, *more]
        )
        merge_parts(self.root / part / "dump", output, 1, "compressed")
        return output

    def llm_command(
        self, name: str, *more: str, source: str = "compressed", task: str = "st", **settings: Any
    ) -> list[str]:
        """Write the YAML and the shapes of a Speech-LLaMA training -> the arguments of llm_train."""
        from speechllama.bin import collect_llm_stats
        from speechllama.text.tasks import TASKS

        config = self.config(name, **{"audio_encoder_conf": SIZES, "batch_bins": 300, **settings})
        table = "feats.scp,speech,kaldi_ark" if source == "dump" else "compressed.scp,compressed,kaldi_ark"
        reference, *others = TASKS[task].references
        others += ["src_text"] if settings.get("distill_conf") else []  # what the teacher reads
        tables = (table, f"{reference},text,text", "utt2lang,lang,text", *(f"{name},{name},text" for name in others))
        data = [self.data(f"{part}/{source}", *tables) for part in ("train", "dev")]
        base = ["--ctc_dir", str(self.root / "ctc")] if source != "dump" else []
        pairs = zip(more[::2], more[1::2], strict=True)
        made_of = base + [word for pair in pairs if pair[0] == "--centroids_file" for word in pair]
        shapes = []
        for part in ("train", "dev"):
            shape = self.root / part / f"{source}_llm_shape{'' if task == 'st' else f'_{task}'}"
            collect_llm_stats.main(
                ["--config", config, "--data_dir", str(self.root / part / source)]
                + ["--llm_dir", str(self.root / "llm")]
                + ["--output_file", str(shape), "--task", task, *made_of]
            )
            shapes.append([str(shape)])
        base = base or ["--cmvn_file", str(self.root / "stats/cmvn.npz")]
        words = ["--config", config, "--output_dir", str(self.root / name), "--resume", "true", *self.device]
        words += [] if "task_name" in settings else ["--task_name", task]
        return [*words, "--llm_dir", str(self.root / "llm"), *base, *self.options(data, shapes), *more]

    def train_llm(self, name: str, *more: str, source: str = "compressed", task: str = "st", **settings: Any) -> Path:
        from speechllama.bin import llm_train

        llm_train.main(self.llm_command(name, *more, source=source, task=task, **settings))
        return self.root / name

    def copy_sets(self, root: Path, tables: Mapping[str, Sequence[str]]) -> Path:
        """Copy the compressed sets, with further tables whose values the utterances take in turn."""
        from speechllama.files import read_table, write_table

        for name in ("train", "dev", "test"):
            shutil.copytree(self.root / name / "compressed", root / name)
            utterances = sorted(read_table(root / name / "text"))
            for table, values in tables.items():
                write_table(root / name / table, dict(zip(utterances, itertools.cycle(values), strict=False)))
        return root

    @staticmethod
    def load(path: Path) -> dict[str, torch.Tensor]:
        """Weights of a checkpoint."""
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return state

    def average(self, name: str) -> None:
        from speechllama.bin import average_checkpoints

        average_checkpoints.main(["--exp_dir", str(self.root / name), "--num_best", "2"])

    def decode(self, system: str, source: str, output: str, *more: str, part: str = "test") -> dict[str, str]:
        """Decode a set from the cache ("compressed") or from features ("dump")."""
        from speechllama.bin import decode
        from speechllama.files import read_table

        decode.main(
            ["--exp_dir", str(self.root / system), "--data_dir", str(self.root / part / source)]
            + ["--output_dir", str(self.root / output), "--beam_size", "3", "--nbest", "2", *self.device, *more]
        )
        return read_table(self.root / output / "text")

    def assert_same_texts(self, one: Any, other: Any) -> None:
        """Two models write the same for the test set's features, token by token."""
        from speechllama.data.ark import read_matrix
        from speechllama.decode.speech2text import Utterance
        from speechllama.files import read_table
        from speechllama.model.audio import Features

        for place in read_table(self.root / "test/dump/feats.scp").values():
            features = read_matrix(place)
            audio = (Features.pad([features]), [Utterance(len(features) / 100)])
            first, second = (model.translate(*audio)[0][0] for model in (one, other))
            assert first.tokens == second.tokens

    def assert_same_segments(self, one: Any, other: Any) -> None:
        """Two models cut a long recording alike, and write the same for each segment."""
        from speechllama.decode.long import LongConfig

        waveform = np.random.default_rng(1).normal(0, 0.1, 60_000).astype(np.float32)
        cutting = LongConfig(segmentation="even", max_seconds=1.5, batch_size=2)
        first, second = (list(model.long(waveform, cutting)) for model in (one, other))
        assert len(first) > 2 and first == second and round(first[-1].end, 6) == 3.75

    def data(self, folder: str, *tables: str) -> list[str]:
        return [str(self.root / folder / table) for table in tables]

    @staticmethod
    def options(data: list[list[str]], shapes: list[list[str]]) -> list[str]:
        words = []
        for phase, tables, files in zip(("train", "valid"), data, shapes, strict=True):
            words += [word for table in tables for word in (f"--{phase}_data_path_and_name_and_type", table)]
            words += [word for file in files for word in (f"--{phase}_shape_file", file)]
        return words


def train_recipe(root: Path, llm: Path, front_end: Any = None) -> Recipe:
    """Train a CTC encoder, its cache, E5 and E6 on it."""
    made = Recipe(root, llm, front_end)
    made.train_ctc("ctc")
    for part in ("train", "dev", "test"):
        made.compress(part)
    made.train_llm("e5", prefix_mask="non_causal")
    made.average("e5")
    made.train_llm("e6", "--init_from", str(made.root / "e5"), prefix_mask="non_causal", llm_conf=LORA)
    made.average("e6")
    return made
