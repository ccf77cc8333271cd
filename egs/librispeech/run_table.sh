#!/usr/bin/env bash
# Systems that recognise English speech in one table: run.sh for every system and seed, then scores with significance, a
# figure, and the paper's order of systems next to what is found here. The same command resumes after a stop, and does
# nothing when all is done.
#
#     egs/librispeech/run_table.sh --librispeech DIR --llm DIR --data_options "--division sample" --size small
#     egs/librispeech/run_table.sh --librispeech DIR --llm DIR --ngpu 1 --nj 16 --seeds "1 2 3"     # 100 hours
#
# Results: exp/RESULTS.md, exp/CLAIMS.md, exp/table/table.json, exp/table/scores.svg; a row's log: exp/table/<row>.seed<n>.log.
set -euo pipefail
# shellcheck source=../TEMPLATE/table.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/table.sh"

run_table --systems "CTC B1 B2 E3 E5 E6 L" --reference E6 -- "$@"
