"""Make a COMET model with random weights, in COMET's own environment.

PYTHON tiny_comet.py FOLDER SEGMENTS.json SCORES.json: FOLDER gets a checkpoint in the hub's form, with an XLM-R of 16
numbers a token, and SCORES.json what COMET's own `predict` gives for the segments, one at a time.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'"


def load(name: str) -> Any:
    """Import a package of the other environment, which checks of this one need not know."""
    return importlib.import_module(name)


def make_encoder(folder: Path) -> None:
    """Write an XLM-R and a tokenizer whose tokens are letters."""
    tokenizers, transformers = load("tokenizers"), load("transformers")
    vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(letter, -3.0) for letter in LETTERS] + [("<mask>", 0.0)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    pair = "<s> $A </s> </s> $B </s>"
    template = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", pair=pair, special_tokens=ends)
    tokenizer.post_processor = template
    transformers.XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    config = transformers.XLMRobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=130,
        pad_token_id=1,
    )
    transformers.XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def main() -> None:
    """Make the model, and score with it."""
    folder, segments, scores = (Path(word).resolve() for word in sys.argv[1:])
    load("torch").manual_seed(0)
    make_encoder(folder / "encoder")
    settings = {
        "encoder_model": "XLM-RoBERTa",
        "pretrained_model": str(folder / "encoder"),
        "hidden_sizes": [8],
        "layer": "mix",
        "layer_transformation": "softmax",
        "train_data": [],
        "validation_data": [],
    }
    model = load("comet.models").RegressionMetric(**settings, load_pretrained_weights=False)
    trainer = load("pytorch_lightning").Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.strategy.connect(model)
    (folder / "checkpoints").mkdir()
    trainer.save_checkpoint(folder / "checkpoints/model.ckpt", weights_only=True)
    hparams = {"class_identifier": "regression_metric", **settings}
    (folder / "hparams.yaml").write_text(load("yaml").safe_dump(hparams), encoding="utf-8")
    loaded = load("comet").load_from_checkpoint(str(folder / "checkpoints/model.ckpt"))
    read = json.loads(segments.read_text(encoding="utf-8"))
    found = [loaded.predict([each], batch_size=1, gpus=0, progress_bar=False).scores[0] for each in read]
    scores.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
