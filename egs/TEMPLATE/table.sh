#!/usr/bin/env bash
# One table of many systems. A recipe's run_table.sh sources this file and calls
#
#     run_table SETTING... -- "$@"
#
# Every row is the recipe's run.sh with a system and a seed. So rows share features, CTC encoder, compressed features and LLM,
# what is finished does not run again, and an interrupted table resumes. A row that fails is named, and the others still run.
# shellcheck source=speech_llama.sh
. "$(dirname "${BASH_SOURCE[0]}")/speech_llama.sh"

row_at=() # where in the plan the words of each row are, "place:number"

take_row() { row_at+=("$at:$#"); }

# run_row INDEX: all of a row; a failure is noted next to its log -> failures.
run_row() {
  local status=0 why
  local -a words=("${plan_words[@]:${row_at[$1]%:*}:${row_at[$1]#*:}}")
  local name=${words[0]} seed=${words[1]} place=${words[2]}
  printf '## row %d of %d: %s, seed %s (%s); log: %s\n' "$(($1 + 1))" "${#row_at[@]}" "$name" "$seed" "${words[3]}" \
    "$place.log"
  attend "$PWD/run.sh" "${words[@]:4}" >"$place.log" 2>&1 || status=$?
  if ((status == 0)); then
    rm -f "$place.failed"
    return 0
  elif ((status == 129 || status == 130 || status == 143)); then
    exit "$status" # interrupted: the same command resumes
  fi
  why=$(sed -n 's/^## \(stage [0-9]* [a-z]*\) failed with status.*/\1/p' "$place.log" | tail -n 1)
  why="${why:-before its first stage}, status $status"
  printf '%s\n' "$why" >"$place.failed"
  failures+=("$name, seed $seed: $why; log: $place.log")
  tail -n 8 "$place.log" >&2
}

# show_rows: the output of run.sh --list or --dry_run, for every row.
show_rows() {
  local place status=0
  local -a words
  for place in "${row_at[@]}"; do
    words=("${plan_words[@]:${place%:*}:${place#*:}}")
    printf '# %s, seed %s\n' "${words[0]}" "${words[1]}"
    ./run.sh "${words[@]:4}" || status=1
  done
  exit "$status"
}

# run_table SETTING... -- ARGUMENT...: the table of the recipe whose script calls this.
run_table() {
  local -a settings=() run_settings plan failures=()
  local index user_dir=$PWD
  while [[ $1 != -- ]]; do
    settings+=("$1")
    shift
  done
  shift
  resume_with "$0" "$@"
  cd "$(dirname "$0")" || exit 1
  export SCRIPT=$0
  mapfile -d "" run_settings < <(./run.sh --print_settings)
  plan=(table "$user_dir" "${#settings[@]}" "${settings[@]}" "${#run_settings[@]}" "${run_settings[@]}" "$@")
  plan_run "${plan[@]}"
  if $list || $dry_run; then show_rows; fi
  mkdir -p "${table_dir:=table}"
  trap report_failure EXIT
  trap 'stop_with 130' INT
  trap 'stop_with 143' TERM HUP
  for index in "${!row_at[@]}"; do run_row "$index"; done
  row_at=()
  plan_run "${plan[@]}" # again: only now is there what the table is made of
  run_stages
  if ((${#failures[@]})); then
    printf '%d of %d rows failed:\n' "${#failures[@]}" "${#row_at[@]}" >&2
    printf '   %s\n' "${failures[@]}" >&2
    exit 1
  fi
}
