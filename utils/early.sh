#!/usr/bin/env bash
# A stage that starts early: in the background, next to the stages before it. Sourced by utils/stages.sh.
#
# A stage in early_stages starts before its turn, as soon as no unfinished stage makes an input of it, if `may_start_early NUMBER`,
# where there is such a function, lets it run next to that stage. There is one at a time. It has the lock and the markers that
# it has in its turn. Its output goes to MARKER.log and is shown when its turn comes. Then the run waits for it.
#
# If it fails, the message comes at once, and the run ends when the stage's turn comes: the stages before it do work that is
# needed anyway. If one of those fails, the message comes at once, and the run ends when the early stage has ended, which may be
# unable to resume. A signal ends both. Without flock, or while another run is at the stage, it waits for its turn.
: "${stop_stage:=99}" "${stage_log:=}" "${running_stage:=}" "${attended:=}" "${stage_lock:=}" "${verdict:=}"
declare -a stage_numbers
declare -A stage_names stage_markers stage_titles stage_inputs run_locks

declare -A early_stages=() # those that may start early
early_stage=""             # the one that has started, until its turn has come
early_pid=""               # its process
early_log=""               # its output
is_early=false             # whether this is that process
screen=2                   # in that process, the error output of the run

# start_early NUMBER: before this stage runs, start a later one next to it, if there is one that can.
start_early() {
  local number verdict
  local -A pending_stages=() # the unfinished ones; what depends on them is stale
  if [[ -n $early_stage || -z ${stage_markers[$1]} || ${#early_stages[@]} == 0 ]]; then return 0; fi
  if ! command -v flock >/dev/null; then return 0; fi
  if declare -F may_start_early >/dev/null && ! may_start_early "$1"; then return 0; fi
  for number in "${stage_numbers[@]}"; do
    if [[ -z ${stage_markers[$number]} ]]; then continue; fi
    judge_stage "$number"
    if [[ $verdict == finished || $verdict == "not needed" ]]; then continue; fi
    if [[ -n ${early_stages[$number]:-} ]] && ((${number%.*} > ${1%.*} && ${number%.*} <= stop_stage)) &&
      has_its_inputs "$number"; then
      start_in_background "$number"
      return 0
    fi
    pending_stages[$number]=true
  done
}

# has_its_inputs NUMBER: whether all inputs are there, and no unfinished stage makes one of them again.
has_its_inputs() {
  local path producer
  while IFS= read -r path; do
    producer_of "$path"
    if [[ -n $path && (! -e $path || -n ${pending_stages[${producer:-none}]:-}) ]]; then return 1; fi
  done <<<"${stage_inputs[$1]}"
}

# start_in_background NUMBER: begin a stage here, where a failure ends the run, and do the rest in the background.
start_in_background() {
  local marker=${stage_markers[$1]}
  mkdir -p "$(dirname "$marker")"
  exec {stage_lock}>"$marker.lock"
  verdict=finished
  if flock --nonblock "$stage_lock"; then judge_stage "$1"; fi # if not, another run is at it
  if [[ $verdict == finished ]]; then
    unlock_stage
    return 0
  fi
  running_stage=$1
  prepare_once
  begin_stage "$1"
  early_stage=$1
  early_log=$marker.log
  : >"$early_log"
  printf '## stage %d %s: started early, next to the others; log: %s\n' "${1%.*}" "${stage_names[$1]}" "$early_log"
  do_in_background "$1" &
  early_pid=$!
  unlock_stage # its process keeps the lock
  running_stage=""
}

# do_in_background NUMBER: what the process of an early stage does. Like jobs, it does not hold the locks of the run.
do_in_background() {
  local lock
  is_early=true
  for lock in "${run_locks[@]}"; do exec {lock}>&-; done
  run_locks=()
  exec {screen}>&2 >>"$early_log" 2>&1
  trap end_early EXIT
  trap 'running_stage=""; stop_with 143' INT TERM HUP
  complete_stage "$1" "$SECONDS"
}

# end_early: what the EXIT trap of an early stage does: end what still runs for it, and say at once that it has failed.
end_early() {
  local status=$?
  set +e # a terminal that is lost cannot be written to
  trap '' HUP
  trap signal_all INT TERM
  signal_all
  await_all
  if [[ -z $running_stage || $status == 0 ]]; then return 0; fi
  {
    tail -n 20 "$early_log"
    printf '## stage %d %s, which was started early, failed with status %d; the run ends with it when its turn comes\n' \
      "${running_stage%.*}" "${stage_names[$running_stage]}" "$status"
  } >&"$screen"
}

# has_company: whether another stage runs next to this one.
has_company() { $is_early || is_early_running; }

# is_early_running: whether the early stage still runs. (When it has ended, another process may get its number.)
is_early_running() {
  local pid
  for pid in $(jobs -pr); do
    if [[ $pid == "$early_pid" ]]; then return 0; fi
  done
  return 1
}

# finish_early: the turn of the early stage: show its output, wait for it, and take its status.
finish_early() {
  local number=$early_stage output status=0
  printf '## stage %d %s: %s (started early)\n' "${number%.*}" "${stage_names[$number]}" "${stage_titles[$number]}"
  running_stage=$number
  stage_log=$early_log
  exec {output}<"$early_log"
  while is_early_running; do
    cat <&"$output"
    sleep 1
  done
  wait "$early_pid" || status=$?
  cat <&"$output"
  exec {output}<&-
  early_stage=""
  if ((status)); then exit "$status"; fi
  if declare -F after_stage >/dev/null; then after_stage "$number"; fi
  running_stage=""
}
