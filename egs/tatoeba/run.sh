#!/usr/bin/env bash
# Speech-LLaMA on spoken Tatoeba: everyday sentences in four languages, spoken by espeak-ng in many voices, rooms and noises,
# translated into English. The recipe makes the speech from sentence pairs, and trains its LLM. No registration, and no
# download except the pairs: <code>-eng.tsv.gz (or .tsv, .txt, .zip) of deu, fra, spa and nld, in downloads/pairs next to
# this script, or a folder, a path or a URL in --data_options.
#
#     egs/tatoeba/run.sh --ngpu 1 --nj 16                                           # 100 hours, E6, one GPU
#     egs/tatoeba/run.sh --ngpu 1 --nj 16 --data_options "--hours 300"              # more: what is there is used again
#     egs/tatoeba/run.sh --data_options "--pairs /data/{code}-eng.tsv.gz --plain_text /data/english.txt" --ngpu 1
#     egs/tatoeba/run.sh --size small --langs es --downloads downloads/smoke --datadir data/smoke --dumpdir dump/smoke \
#       --expdir exp/smoke --data_options "--pairs DIR --hours 1 --num_dev 80 --num_test 200"       # smoke run, a CPU
#
# --data_options has what `local/data.sh --help` lists; its paths are absolute. The settings in TEMPLATE/conf are for one GPU, those
# in TEMPLATE/conf/small for a CPU. Results: exp/RESULTS.md. The same command resumes after a stop. Another corpus (other languages,
# sizes of dev and test, seed or pairs) needs folders of its own, as above.
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

speech_llama --corpus_kind tatoeba --langs "de fr es nl" --pack_llm true -- "$@"
