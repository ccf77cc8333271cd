#!/usr/bin/env bash
# Stage data of CoVoST 2: find its tables and Common Voice, unpack or download what is needed.
#
#     local/data.sh --common_voice DIR --covost2 DIR --langs "de fr" --datadir data
#     local/data.sh --help
#
# A stopped run resumes. The options are those of covost2 in speechllama/recipe/corpora.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -m speechllama.bin.prepare_data covost2 "$@"
