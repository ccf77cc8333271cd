#!/usr/bin/env bash
# Stage data of LibriSpeech: find its parts, unpack or download what is needed, and divide them into train, dev and test.
#
#     local/data.sh --librispeech DIR --division mini --datadir data
#     local/data.sh --help
#
# A stopped run resumes. The options are those of librispeech in speechllama/recipe/corpora.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -m speechllama.bin.prepare_data librispeech "$@"
