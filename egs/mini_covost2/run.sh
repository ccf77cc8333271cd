#!/usr/bin/env bash
# Speech-LLaMA on a miniature corpus that the recipe makes itself: sentences in several languages, spoken by espeak-ng,
# translated into English, in CoVoST 2's own format. From nothing to scores in minutes on a CPU, with no download.
#
#     egs/mini_covost2/run.sh                                  # E6, the paper's best system
#     egs/mini_covost2/run.sh --system e3                      # another one: those of conf
#     egs/mini_covost2/run.sh --task asr --system e5           # recognition in place of translation
#     egs/mini_covost2/run.sh --stage 11 --beam_size 1         # only decoding, scoring and packing
#     egs/mini_covost2/run.sh --list                           # the stages, and which are finished
#
# Results: exp/RESULTS.md; a system's own: exp/st_e6/decode_test_beam4/score.json. The same command resumes after a stop.
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

# The learning rates end so low that the last epoch is better than a mean with those before it (LOG.md).
speech_llama --corpus_kind mini_covost2 --langs "de fr es" --ctc_num_best 1 --num_best 1 --pack_llm true -- "$@"
