#!/usr/bin/env bash
# Speech-LLaMA on a corpus in the form that MuST-C and IWSLT publish, in any language pair: DIR/SPLIT/txt/SPLIT.yaml with
# SPLIT.SOURCE and SPLIT.TARGET next to it, a line for each segment, and DIR/SPLIT/wav. Or lists of recordings instead of
# YAML. Needs the corpus and a Hugging Face causal LM, by directory or hub id.
#
#     egs/iwslt/run.sh --corpus DIR --source_lang en --target_lang de --llm DIR --ngpu 1 --nj 16     # MuST-C
#     egs/iwslt/run.sh --corpus DIR --source_lang en --target_lang de --llm DIR --dry_run            # is it all there?
#     egs/iwslt/run.sh --corpus DIR --source_lang qu --target_lang es --llm DIR --size small --ctc_units 200 \
#       --data_options "--dev valid --test test --source_suffix que --target_suffix spa"             # a few hours, a CPU
#     egs/iwslt/run.sh --corpus DIR --source_lang en --target_lang de --llm DIR --ngpu 1 \
#       --data_options "--test tst-COMMON,tst-HE" --sets "test tst-HE"                               # a further test set
#
# --data_options has what `python3 -m speechllama.bin.prepare_data iwslt --help` lists: which splits are train, dev and test,
# and what training leaves out. Results: exp_de/RESULTS.md. The same command resumes after a stop, and then needs --corpus no
# more. Another corpus needs folders of its own (--datadir, --dumpdir, --expdir).
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

speech_llama --corpus_kind iwslt -- "$@"
