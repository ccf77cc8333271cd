#!/usr/bin/env bash
# The environment in which the stages run: installed on first use, then first on the PATH. Sourced by speech_llama.sh after
# its options, since --help and --list need no environment.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$("$root/tools/install.sh" --print_bin ${python:+--python "$python"})
export PATH=$bin:$PATH
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export LC_ALL=C PYTHONUTF8=1 PYTHONIOENCODING=UTF-8 # tables are sorted by bytes, text is UTF-8 whatever the machine's locale
export PYTHONUNBUFFERED=1                           # logs show what a job does when it does it
export TOKENIZERS_PARALLELISM=false                 # its threads and forked data loaders do not mix
