"""B1 and B2 on the recipe of noise: trained, decoded, tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from speechllama.bin import average_checkpoints, decode, seq2seq_train, tune_rescoring


def train_b1(recipe: Any, sizes: dict[str, Any]) -> Path:
    """Train B1 for two epochs -> its folder."""
    root = recipe.root
    config = recipe.config("b1", model="seq2seq", network_conf=sizes, batch_bins=40000)
    parts = ("train", "dev")
    data = [recipe.data(f"{part}/dump", "feats.scp,speech,kaldi_ark", "src_text,text,text") for part in parts]
    shapes = [[str(root / "stats" / part / kind) for kind in ("speech_shape", "text_shape")] for part in parts]
    seq2seq_train.main(
        ["--config", config, "--output_dir", str(root / "b1"), "--resume", "true", "--ngpu", "0"]
        + ["--tokenizer", str(root / "bpe/bpe.model"), "--cmvn_file", str(root / "stats/cmvn.npz")]
        + recipe.options(data, shapes)
    )
    average_checkpoints.main(["--exp_dir", str(root / "b1"), "--num_best", "2"])
    return Path(root / "b1")


def tune_b2(recipe: Any, base: str = "b1", beam: int = 3, **conf: Any) -> Path:
    """Decode the dev set with a system, and tune its rescoring -> the folder of B2."""
    root, folder = recipe.root, recipe.root / f"b2_{base}"
    folder.mkdir(exist_ok=True)
    decode_dir = str(root / base / f"decode_dev_beam{beam}")
    data = str(root / "dev/dump")
    decode.main(
        ["--exp_dir", str(root / base), "--data_dir", data, "--output_dir", decode_dir]
        + ["--beam_size", str(beam), "--nbest", str(beam)]
    )
    config = folder / "b2.yaml"
    config.write_text(yaml.safe_dump({"rescore_system": base, "rescoring_conf": conf}))
    tune_rescoring.main(
        ["--config", str(config), "--llm_dir", str(root / "llm"), "--decode_dir", decode_dir, "--data_dir", data]
        + ["--output_file", str(folder / f"rescoring_beam{beam}.json")]
    )
    return Path(folder)
