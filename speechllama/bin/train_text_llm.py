r"""Train a recipe's own LLM on text, and test that it translates written sentences.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.train_text_llm --config conf/llm.yaml --text downloads/llm_text.tsv \
        --dev_dir data/dev --output_dir exp/llm
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from speechllama.cli import add_conf_path, new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import DEFAULT_TASK


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML of TextLLMConfig")
    add_conf_path(parser)
    parser.add_argument("--text", required=True, help="TSV with the columns lang, sentence, translation[, target]")
    parser.add_argument("--dev_dir", required=True, help="data directory with src_text and text, for the test")
    parser.add_argument("--prompt_config", help="YAML whose prompt_conf has the prompts of the systems")
    parser.add_argument("--output_dir", required=True, help="where model/ and llm.json go")
    parser.add_argument("--ngpu", type=int, default=0, help="1 trains on the first GPU")
    parser.add_argument("--num_steps", type=int, default=None, help="updates, in place of the YAML's")
    parser.add_argument("--seed", type=int, default=None, help="of weights and batches, in place of the YAML's")
    parser.add_argument("--target_lang", choices=list(TARGETS), default=DEFAULT_TARGET, help="language of translations")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Train."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import from_mapping, read_config
    from speechllama.data.data_dir import TARGET_TABLE, read_data_dir
    from speechllama.decode.text_bleu import TextPairs, report_text_bleu, text_bleu
    from speechllama.llm.record import prepare_llm
    from speechllama.llm.text_llm import TextCorpus, TextLLMConfig, train_text_llm

    config = from_mapping(TextLLMConfig, read_config(args.config, args.conf_path), args.config)
    options = {"num_steps": args.num_steps, "seed": args.seed}
    config = dataclasses.replace(config, **{name: value for name, value in options.items() if value is not None})
    data = read_data_dir(args.dev_dir)
    sentences = data.table("src_text")
    names = ("text", "utt2lang", TARGET_TABLE)
    translations, languages, targets = ([data.table(name).get(utt, "") for utt in sentences] for name in names)
    prompts = read_config(args.prompt_config, args.conf_path).get("prompt_conf") if args.prompt_config else None
    corpus = TextCorpus(args.text, list(sentences.values()), args.target_lang, prompts or {})
    path = str(train_text_llm(config, corpus, args.output_dir, args.ngpu > 0))
    pairs = TextPairs(corpus.held_out, translations, languages, targets)
    found = text_bleu(path, pairs, corpus.prompt_config(DEFAULT_TASK))
    entries = report_text_bleu(found, config.min_text_bleu, args.output_dir)
    prepare_llm(path, None, args.output_dir, {**entries, "config": dataclasses.asdict(config)})


if __name__ == "__main__":
    run_main(main)
