#!/usr/bin/env bash
# Run a recipe. Its run.sh sources this file and calls
#
#     speech_llama SETTING... -- "$@"
#
# with its own settings, which the user's options override. What a run is, Python plans (speechllama/recipe: options, system,
# layout, stages); this shell runs the stages. A recipe has next to its run.sh: conf/, local/data.sh (stage data) and, if it
# likes, cmd.sh.
# shellcheck source=../../utils/plan.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../utils/plan.sh"

# prepare_run: the environment, before the first stage that runs.
# shellcheck source=path.sh
prepare_run() { . "$root/egs/TEMPLATE/path.sh"; }

# speech_llama SETTING... -- ARGUMENT...: the recipe of the script that calls this.
speech_llama() {
  local -a settings=()
  local user_dir=$PWD
  while [[ $1 != -- ]]; do
    settings+=("$1")
    shift
  done
  shift
  if [[ ${1:-} == --print_settings ]]; then # for run_table.sh, which plans all of its rows at once
    printf '%s\0' "${settings[@]}"
    exit 0
  fi
  resume_with "$0" "$@"
  cd "$(dirname "$0")" || exit 1
  export SCRIPT=$0
  plan_run run "$user_dir" "${#settings[@]}" "${settings[@]}" "$@"
  run_stages
}
