#!/usr/bin/env bash
# The paper's systems in one table: run.sh for every system and seed, then scores with significance, a figure, and the
# paper's claims next to what is found here. The same command resumes after a stop, and does nothing when all is done.
#
#     egs/iwslt/run_table.sh --corpus DIR --source_lang en --target_lang de --llm DIR --ngpu 1 --nj 16
#     egs/iwslt/run_table.sh --systems "B1 E5 E6" --corpus DIR --source_lang en --target_lang de --llm DIR --size small
#
# Results: exp_de/RESULTS.md, exp_de/CLAIMS.md, exp_de/table/table.json, exp_de/table/scores.svg; a row's log:
# exp_de/table/<row>.seed<n>.log.
set -euo pipefail
# shellcheck source=../TEMPLATE/table.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/table.sh"

run_table --systems "B1 B2 E0 E1 E2 E3 E4 E5 E6 D U" --reference E6 -- "$@"
