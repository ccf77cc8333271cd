#!/usr/bin/env bash
# Stage 1 of the miniature corpus: make it in CoVoST 2's own format, then prepare it as the real one.
#
#     local/data.sh --langs "de fr es" --datadir data --downloads downloads
set -euo pipefail
# shellcheck source=../../../utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh"

# --- options
langs=de            # languages, separated by blanks
datadir=data        # data directories are written here
downloads=downloads # the corpus is written here
nj=2                # parallel jobs
num_train=6000      # training utterances
num_dev=90          # development utterances
num_test=450        # test utterances
num_llm_text=40000  # sentence pairs for the LLM's own training
seed=1              # of the corpus: the same seed makes the same bytes
help=false          # print this help
# --- end of options
parse_options "${BASH_SOURCE[0]}" "$@"
refuse_positional
if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi

python3 -m speechllama.bin.make_mini_corpus --output_dir "$downloads" --langs "$langs" \
  --num_train "$num_train" --num_dev "$num_dev" --num_test "$num_test" --num_llm_text "$num_llm_text" \
  --seed "$seed" --nj "$nj"
python3 -m speechllama.bin.prepare_covost2 --common_voice "$downloads/common_voice" --covost2 "$downloads/covost2" \
  --langs "$langs" --output_dir "$datadir"
