#!/usr/bin/env bash
# Speech-LLaMA on CoVoST 2: speech in any of its languages into English, by default the paper's 13 together. Needs Common
# Voice (DIR/<lang>/validated.tsv and clips/, or its archives in DIR), CoVoST 2's covost_v2.<lang>_en.tsv (a directory or a
# URL) and a Hugging Face causal LM, by directory or hub id.
#
#     egs/covost2/run.sh --common_voice DIR --covost2 DIR --langs "de fr es" --llm DIR --size small
#
# Without the first two options, the corpora are looked for in downloads/ beside this script. --size small takes the
# settings in conf/small, which a CPU can bear. Results: exp/RESULTS.md. The same command goes on after a stop.
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

speech_llama --langs "de zh-CN ar es fr it nl ja ru pt et sv-SE sl" --ctc_units 200 --size small \
  --common_voice downloads/common_voice --covost2 downloads/covost2 -- "$@"
