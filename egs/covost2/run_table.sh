#!/usr/bin/env bash
# The paper's systems in one table: run.sh for every system and seed, then scores with significance, a figure, and the
# paper's claims next to what is found here. The same command resumes after a stop, and does nothing when all is done.
#
#     egs/covost2/run_table.sh --common_voice DIR --covost2 DIR --llm openlm-research/open_llama_7b --ngpu 1
#     egs/covost2/run_table.sh --systems "E3 E5 E6 E6:ctc_translation E6:asr" --llm DIR --size small
#
# Results: exp/RESULTS.md, exp/CLAIMS.md, exp/table/table.json, exp/table/scores.svg; a row's log: exp/table/<row>.seed<n>.log.
set -euo pipefail
# shellcheck source=../TEMPLATE/table.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/table.sh"

run_table --systems "B1 B2 E0 E1 E2 E3 E4 E5 E6 D U" --reference E6 -- "$@"
