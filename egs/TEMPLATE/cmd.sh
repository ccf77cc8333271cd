#!/usr/bin/env bash
# Where the jobs of a recipe run; a recipe may have a cmd.sh of its own beside its run.sh. Sourced by speech_llama.sh.
# launcher=local: as processes of this machine (utils/launch.sh).
export launcher=local
