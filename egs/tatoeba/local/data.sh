#!/usr/bin/env bash
# Stage data of spoken Tatoeba: speak the sentence pairs into a corpus of CoVoST 2's format, then prepare it as the real one.
#
#     local/data.sh --langs "de fr es nl" --hours 100 --datadir data --downloads downloads
#     local/data.sh --help
#
# A stopped run resumes. The options are those of tatoeba in speechllama/recipe/corpora.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec python3 -m speechllama.bin.prepare_data tatoeba "$@"
