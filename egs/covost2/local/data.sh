#!/usr/bin/env bash
# Stage 1 of CoVoST 2: find its tables and Common Voice, unpack or download what is needed, and write data directories.
#
#     local/data.sh --common_voice DIR --covost2 DIR --langs "de fr" --datadir data
#
# Archives are unpacked and tables downloaded below --downloads; a stopped run goes on where it was.
set -euo pipefail
# shellcheck source=../../../utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh"

# --- options
langs=de            # languages, separated by blanks
common_voice=       # Common Voice: DIR/[cv-corpus-*/]<lang>/validated.tsv and clips/, or its archives in DIR
covost2=            # directory or URL of covost_v2.<lang>_en.tsv or .tsv.tar.gz
datadir=data        # data directories are written here
downloads=downloads # unpacked archives, fetched tables; both corpora are looked for here by default
nj=2                # parallel readers of clips
english=none        # English speech with its transcripts for training: none, or Common Voice's table train or validated
pseudo_labels=      # TSV with lang, path, sentence, translation[, client_id]: machine-translated training targets
drop_overlap=true   # leave out training sentences that dev or test have, too; published systems keep them: false
min_duration=0.3    # seconds; shorter training clips are left out and counted
max_duration=30     # seconds; longer training clips are left out and counted
check_characters=true      # leave out training texts with unprintable characters or in another script
min_chars_per_second=0.2   # training texts shorter than this for their audio are left out
max_chars_per_second=40    # training texts longer than this for their audio are left out
max_bad_share=0.05         # share of a language's clips that may be absent or damaged
max_missing_share=0.5      # share of CoVoST 2's rows that Common Voice may lack
help=false          # print this help
# --- end of options
parse_options "${BASH_SOURCE[0]}" "$@"
refuse_positional
if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi
python3 -m speechllama.bin.prepare_covost2 --common_voice "${common_voice:-$downloads/common_voice}" \
  --covost2 "${covost2:-$downloads/covost2}" --langs "$langs" --output_dir "$datadir" --work_dir "$downloads" \
  --english "$english" ${pseudo_labels:+--pseudo_labels "$pseudo_labels"} --drop_overlap "$drop_overlap" \
  --min_duration "$min_duration" --max_duration "$max_duration" --check_characters "$check_characters" \
  --min_chars_per_second "$min_chars_per_second" --max_chars_per_second "$max_chars_per_second" \
  --max_bad_share "$max_bad_share" --max_missing_share "$max_missing_share" --num_threads "$nj"
