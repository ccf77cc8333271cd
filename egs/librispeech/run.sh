#!/usr/bin/env bash
# Speech-LLaMA on LibriSpeech: read English speech into its text (--task asr). Needs LibriSpeech or some parts of it
# (DIR/<part>/<speaker>/<chapter>/*.flac, *.opus, *.ogg or *.wav with *.trans.txt, or DIR/<part>.tar.gz, or the URL of the
# archives) and a Hugging Face causal LM, by directory or hub id.
#
#     egs/librispeech/run.sh --librispeech DIR --llm DIR --ngpu 1 --nj 16                          # 100 hours, one GPU
#     egs/librispeech/run.sh --librispeech DIR --llm DIR --data_options "--division 960" --ngpu 8 --nj 32
#     egs/librispeech/run.sh --librispeech DIR --llm DIR --data_options "--division sample" --size small     # 18 speakers, a CPU
#     egs/librispeech/run.sh --librispeech https://www.openslr.org/resources/31 --llm DIR --data_options "--division mini" --size small
#
# --data_options has what `local/data.sh --help` lists; its paths are absolute. Without --librispeech, the parts are looked for
# in downloads/librispeech next to this script. The settings in conf/ are for 100 hours and one GPU, those in conf/small for the
# few hours of the sample or of mini-LibriSpeech. Results: exp/RESULTS.md. The same command resumes after a stop. Another
# division needs folders of its own (--datadir, --dumpdir, --expdir).
set -euo pipefail
# shellcheck source=../TEMPLATE/speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/../TEMPLATE/speech_llama.sh"

speech_llama --corpus_kind librispeech --task asr --langs en -- "$@"
