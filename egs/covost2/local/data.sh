#!/usr/bin/env bash
# Stage 1 of CoVoST 2: join its TSV files with Common Voice's and write data directories.
#
#     local/data.sh --common_voice DIR --covost2 DIR --langs "de fr" --datadir data
set -euo pipefail
# shellcheck source=../../../utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../utils/parse_options.sh"

# --- options
langs=de            # languages, separated by blanks
common_voice=       # Common Voice: DIR/<lang>/validated.tsv and DIR/<lang>/clips/*.mp3
covost2=            # directory of covost_v2.<lang>_en.tsv
datadir=data        # data directories are written here
downloads=downloads # where the two directories are looked for by default
nj=2                # parallel readers of clips
min_duration=0.3    # seconds; shorter clips are left out and counted
max_duration=30     # seconds; longer clips are left out and counted
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
  --covost2 "${covost2:-$downloads/covost2}" --langs "$langs" --output_dir "$datadir" --num_threads "$nj" \
  --min_duration "$min_duration" --max_duration "$max_duration"
