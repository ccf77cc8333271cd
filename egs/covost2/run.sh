#!/usr/bin/env bash
# Speech-LLaMA on CoVoST 2: speech in any of its languages into English, by default the paper's 13 together. Needs Common
# Voice (DIR/<lang>/validated.tsv and clips/, or its archives in DIR), CoVoST 2's covost_v2.<lang>_en.tsv (a directory or a
# URL) and a Hugging Face causal LM, by directory or hub id.
#
#     egs/covost2/run.sh --common_voice DIR --covost2 DIR --llm openlm-research/open_llama_7b --ngpu 1
#     egs/covost2/run.sh --common_voice DIR --covost2 DIR --llm DIR --dry_run     # is everything there, does it fit?
#     egs/covost2/run.sh --common_voice DIR --covost2 DIR --llm DIR --langs "de fr es" --size small
#     egs/covost2/run.sh --common_voice DIR --covost2 DIR --llm DIR --direction en_x --langs "de ja"   # from English
#
# Without the first two options, the corpora are looked for in downloads/ next to this script, or where --downloads says.
# The settings in conf/ are of the paper's size; --size small takes those in TEMPLATE/conf/small, for a CPU. By default its 13
# languages are trained together. Results: exp/RESULTS.md. The same command resumes after a stop.
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

speech_llama --corpus_kind covost2 --langs "de zh-CN ar es fr it nl ja ru pt et sv-SE sl" -- "$@"
