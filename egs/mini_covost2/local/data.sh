#!/usr/bin/env bash
# Stage data of the miniature corpus: make it in CoVoST 2's own format, then prepare it as the real one.
#
#     local/data.sh --langs "de fr es" --datadir data --downloads downloads
#     local/data.sh --help
#
# A stopped run resumes. The options are those of mini_covost2 in speechllama/recipe/corpora.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -m speechllama.bin.prepare_data mini_covost2 "$@"
