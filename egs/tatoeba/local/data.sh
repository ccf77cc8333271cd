#!/usr/bin/env bash
# Stage 1 of spoken Tatoeba: speak the sentence pairs into a corpus of CoVoST 2's format, then prepare it as the real one.
#
#     local/data.sh --langs "de fr es nl" --hours 100.0 --datadir data --downloads downloads
#
# A stopped run goes on; more hours add clips to those that are there.
set -euo pipefail
# shellcheck source=../../../utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh"

# --- options
langs=de            # languages, separated by blanks: of de es fr nl
datadir=data        # data directories are written here
downloads=downloads # the corpus is written here
nj=2                # parallel jobs
pairs=              # folder with <code>-eng.tsv.gz, .tsv, .txt or .zip; or path or URL with {code}; empty: downloads/pairs
plain_text=         # English text for the LLM: a file, or a folder with .txt files
hours=100.0         # of training speech, about, all languages together; a fraction will do
num_dev=400         # development utterances
num_test=1000       # test utterances
seed=1              # of the corpus: the same pairs and seed make the same bytes
print_files=false   # print the files with pairs and plain text that are here, a line each, and stop
help=false          # print this help
# --- end of options
parse_options "${BASH_SOURCE[0]}" "$@"
refuse_positional
if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi

# list_files: what the corpus is made of, as tatoeba_pairs.py and tatoeba_corpus.py find it; what a URL gave does not change.
list_files() {
  local place=${pairs:-$downloads/pairs} lang file
  local -A codes=([de]=deu [es]=spa [fr]=fra [nl]=nld)
  for lang in $langs; do
    for file in "${place//\{code\}/${codes[$lang]:-}}"{,"/${codes[$lang]:-}-eng".{tsv.gz,txt.gz,zip,tsv,txt}}; do
      if [[ -f $file ]]; then printf '%s\n' "$file"; fi
    done
  done
  for file in "$plain_text" "$plain_text"/*.txt; do
    if [[ -f $file ]]; then printf '%s\n' "$file"; fi
  done
}
if $print_files; then
  list_files
  exit 0
fi

python3 -m speechllama.bin.make_tatoeba_corpus --output_dir "$downloads" --pairs "${pairs:-$downloads/pairs}" \
  ${plain_text:+--plain_text "$plain_text"} --langs "$langs" --hours "$hours" --num_dev "$num_dev" \
  --num_test "$num_test" --seed "$seed" --nj "$nj"
python3 -m speechllama.bin.prepare_covost2 --common_voice "$downloads/common_voice" --covost2 "$downloads/covost2" \
  --langs "$langs" --output_dir "$datadir" --num_threads "$nj"
