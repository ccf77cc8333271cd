#!/usr/bin/env bash
# Run a recipe. Its run.sh sources this file and calls
#
#     speech_llama SETTING... -- "$@"
#
# with its own settings, which the user's options override. Python plans the run (speechllama/recipe: options, system, layout,
# stages); this shell runs the stages. Next to its run.sh a recipe has conf/, local/data.sh (the data stage) and, if it needs
# one, cmd.sh.
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
