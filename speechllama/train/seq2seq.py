"""Training of the encoder-decoder B1 on ESPnet, with ESPnet's own encoder, decoder and CTC head.

{speech (B, T, F), text (B, L)} -> loss, stats, weight
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechllama.config import from_mapping
from speechllama.faults import InputError, MissingFileError
from speechllama.frontend.feature_format import recorded_format
from speechllama.model.build import CONFIG_FILE, check_device, read_cmvn, read_settings
from speechllama.model.front_end import build_front_end
from speechllama.model.seq2seq import Parts, Seq2Seq, Seq2SeqConfig
from speechllama.model.weights import read_weights, weights_path
from speechllama.text.tokenizer import CTCTokenizer
from speechllama.train.ctc import CTCTask
from speechllama.train.espnet import AbsESPnetModel, force_gatherable, seq2seq_classes
from speechllama.train.feature_record import record_features
from speechllama.train.options import Kind


class Seq2SeqModel(Seq2Seq, AbsESPnetModel):
    """The network with ESPnet's `forward`; its checkpoints are the network's own."""

    def forward(  # type: ignore[override]
        self, speech: Tensor, speech_lengths: Tensor, text: Tensor, text_lengths: Tensor, **_: Any
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, stats and weight (the number of utterances) of one batch; see `Seq2Seq.forward`."""
        result = Seq2Seq.forward(self, speech, speech_lengths, text, text_lengths)
        stats = {
            "loss": result.loss.detach(),
            "loss_att": result.attention.detach(),
            "loss_ctc": result.ctc.detach(),
            "acc": result.accuracy,
        }
        gathered: tuple[Tensor, dict[str, Tensor], Tensor] = force_gatherable(
            (result.loss, stats, len(text)), result.loss.device
        )
        return gathered

    def collect_feats(self, speech: Tensor, speech_lengths: Tensor, **_: Any) -> dict[str, Tensor]:
        """Features as they are, for ESPnet's statistics."""
        return {"feats": speech, "feats_lengths": speech_lengths}


class Seq2SeqTask(CTCTask):
    """ESPnet task of the encoder-decoder; data, units and batches are as in CTC training, on the target text."""

    kind: Kind = "seq2seq"

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> Seq2SeqModel:
        """Make the network; its sizes and unit count go into config.yaml."""
        config = from_mapping(Seq2SeqConfig, args.network_conf, f"{args.config}: network_conf")
        args.network_conf = dataclasses.asdict(config)
        args.num_units = CTCTokenizer(args.tokenizer).num_units
        features, parts = record_features(args), make_parts(config, args.num_units)
        model = Seq2SeqModel(config, args.num_units, parts, features.shape, build_front_end(features))
        model.set_normalization(*read_cmvn(args.cmvn_file))
        cls.check_options(args, model)
        count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        logging.info("encoder-decoder: %s parameters train, %d units", f"{count:,}", args.num_units)
        return model


def make_parts(config: Seq2SeqConfig, num_units: int) -> Parts:
    """Make ESPnet's modules of a config's sizes."""
    shared = {"attention_heads": config.num_heads, "linear_units": config.ffn_dim, "dropout_rate": config.dropout}
    # ESPnet's flash attention drops attention's dropout, and looks for a GPU even in a run on the CPU.
    shared["use_flash_attn"] = False
    # ESPnet's Conformer, less convolutions and second feed-forward layer, is its Transformer, and has both positions.
    position_types = {"absolute": ("abs_pos", "selfattn"), "relative": ("rel_pos", "rel_selfattn")}[config.positions]
    classes = seq2seq_classes()
    encoder = classes.encoder(
        config.dim,
        config.dim,
        num_blocks=config.num_encoder_layers,
        input_layer=None,
        rel_pos_type="latest",
        pos_enc_layer_type=position_types[0],
        selfattention_layer_type=position_types[1],
        positional_dropout_rate=config.dropout,
        activation_type="relu",
        use_cnn_module=False,
        **shared,
    )
    decoder = classes.decoder(
        num_units + 1,
        config.dim,
        num_blocks=config.num_decoder_layers,
        positional_dropout_rate=config.dropout,
        **shared,
    )
    return Parts(encoder, decoder, classes.ctc(num_units, config.dim))


def load_seq2seq(
    exp_dir: str | Path, device: str = "cpu", settings: Mapping[str, Any] | None = None
) -> tuple[Seq2Seq, CTCTokenizer]:
    """Load a trained experiment.

    Args:
        exp_dir: Its directory.
        device: torch device.
        settings: The content of its config.yaml, if paths in it have changed since; None: as it is there.

    Returns:
        The network in evaluation mode, and its tokenizer.

    Raises:
        FileNotFoundError: It is no finished experiment, or its tokenizer is gone.
        ValueError: The weights do not fit the config, the tokenizer is another one, or there is no GPU.
    """
    check_device(device)
    folder = Path(exp_dir)
    for path in (folder / CONFIG_FILE, weights_path(folder)):
        if not path.is_file():
            raise MissingFileError(f"{path}: no trained experiment there; run it to stage `average`")
    settings = settings or read_settings(folder)
    config = from_mapping(Seq2SeqConfig, settings["network_conf"], f"{folder / CONFIG_FILE}: network_conf")
    tokenizer = CTCTokenizer(settings["tokenizer"])
    if tokenizer.num_units != settings["num_units"]:
        raise InputError(
            f"{tokenizer.path}: {tokenizer.num_units} units, but {folder} was trained with {settings['num_units']}; "
            "train it again"
        )
    features, parts = recorded_format(settings, str(folder)), make_parts(config, tokenizer.num_units)
    network = Seq2Seq(config, tokenizer.num_units, parts, features.shape, build_front_end(features))
    try:
        network.load_state_dict(read_weights(folder))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{weights_path(folder)}: the weights do not fit {CONFIG_FILE} there: {error}") from error
    return network.to(device).eval(), tokenizer
