#!/usr/bin/env bash
# The engine of a recipe: a table of stages, which of them are finished, and what to do when one fails. Source this file,
# fill the table with add_stage, define `do_stage NUMBER`, then call run_stages. It reads the variables stage, stop_stage,
# list and dry_run. utils/plan.sh fills the table with what Python has planned.
#
# A finished stage leaves a marker inside its output directory: its settings, the checksums of its inputs, and the checksums
# of the markers of the stages that made them. A marker is written last, with the time at which the stage began. A stage is
# stale, and runs again, when an input is newer than its marker or is another file than before, however old, when its
# settings have changed, or when an output is missing.
# A stage that was started and not finished leaves MARKER.begun. When it runs again with the same settings and inputs, it
# resumes from what is there; with others, `clear_stage NUMBER`, where there is such a function, first removes what they
# had made.
# To run a finished stage again, remove its marker; the message "finished before" names it.
# prepare_run, where there is such a function, is called once, before the first stage that runs.
# A stage in early_stages may start before its turn, next to the stages before it: utils/early.sh.
# shellcheck source=early.sh
. "$(dirname "${BASH_SOURCE[0]}")/early.sh"
: "${stage:=1}" "${stop_stage:=99}" "${list:=false}" "${dry_run:=false}"

stage_numbers=()
declare -A stage_names stage_markers stage_titles stage_settings stage_inputs stage_outputs stage_skips
running_stage=""
stage_log=""
run_status=0 # of a run whose stages did not fail: 1 if a check in a dry run found a fault
is_prepared=false
attended=""
declare -A run_locks # directory -> descriptor of a lock that this run holds and its jobs do not
resume_command=()
declare -A pending_stages # --list and --dry_run: stages that would run

# resume_with COMMAND...: the command that a user repeats after a failure.
resume_with() { resume_command=("$@"); }

# add_stage NUMBER NAME MARKER TITLE SETTINGS [INPUT...] [-- OUTPUT...]: a row of the table. Rows of one number are
# parts of a stage, each with its own marker; the key of the second is NUMBER.2. A path below this directory counts as the
# relative one, however it was given.
add_stage() {
  local number=$1 list=inputs path part=1
  while [[ -n ${stage_names[$number]:-} ]]; do
    part=$((part + 1))
    number=$1.$part
  done
  stage_numbers+=("$number")
  stage_names[$number]=$2
  stage_markers[$number]=$3
  stage_titles[$number]=$4
  stage_settings[$number]=$5
  stage_inputs[$number]=""
  stage_outputs[$number]=""
  shift 5
  for path in "$@"; do
    path=${path#"$PWD"/}
    if [[ $path == -- ]]; then
      list=outputs
    elif [[ $list == inputs ]]; then
      stage_inputs[$number]+=$path$'\n'
    else
      stage_outputs[$number]+=$path$'\n'
    fi
  done
}

# skip_stage NUMBER NAME REASON: a row with nothing to do.
skip_stage() {
  add_stage "$1" "$2" "" "$3" ""
  stage_skips[$1]=$3
}

# check_stage NUMBER NAME TITLE [INPUT...]: a row that checks and leaves no marker: it is done whenever a later stage of the
# run is not finished, and when only it is asked for.
check_stage() {
  local number=$1 name=$2 title=$3
  shift 3
  add_stage "$number" "$name" "" "$title" "" "$@"
}

# is_work_ahead NUMBER: whether a later stage of the run is not finished, or there is none.
is_work_ahead() {
  local number verdict reason is_last=true
  for number in "${stage_numbers[@]}"; do
    if ((${number%.*} <= $1 || ${number%.*} < stage || ${number%.*} > stop_stage)); then continue; fi
    is_last=false
    judge_stage "$number"
    if [[ $verdict == stale || $verdict == unfinished ]]; then return 0; fi
  done
  $is_last
}

# producer_of PATH: the number of the stage that writes it, or nothing -> producer.
producer_of() {
  local number
  producer=""
  for number in "${stage_numbers[@]}"; do
    if [[ $'\n'${stage_outputs[$number]} == *$'\n'"$1"$'\n'* ]]; then producer=$number; fi
  done
}

# stage_record NUMBER: what a marker says.
stage_record() {
  local path producer
  printf 'settings: %s\n' "${stage_settings[$1]}"
  while IFS= read -r path; do
    if [[ -z $path ]]; then continue; fi
    printf 'input: %s %s\n' "$(cksum <"$path")" "$path"
    producer_of "$path"
    if [[ -n $producer && -f ${stage_markers[$producer]} ]]; then
      printf 'made by stage %s: %s\n' "$producer" "$(cksum <"${stage_markers[$producer]}")"
    fi
  done <<<"${stage_inputs[$1]}"
}

# read_inputs MARKER: the inputs that it names -> known, a line each, between line breaks.
read_inputs() {
  local line
  known=$'\n'
  while IFS= read -r line; do
    if [[ $line == "input: "* ]]; then known+=${line#input: * * }$'\n'; fi # two numbers from cksum, then the path
  done <"$1"
}

# judge_stage NUMBER: finished, stale, unfinished or "not needed" -> verdict, with the reason -> reason.
judge_stage() {
  local marker=${stage_markers[$1]} path recorded="" producer known
  verdict=finished
  reason=""
  if [[ -n ${stage_skips[$1]:-} ]]; then
    verdict="not needed"
    return 0
  elif [[ -z $marker ]]; then
    if is_work_ahead "$1"; then verdict=unfinished; fi
    return 0
  elif [[ ! -f $marker ]]; then
    verdict=unfinished
    if [[ -f $marker.begun ]]; then reason="was interrupted"; fi
    return 0
  fi
  while IFS= read -r path; do
    if [[ -n $path && ! -e $path ]]; then reason="$path is missing"; fi
  done <<<"${stage_outputs[$1]}"
  read_inputs "$marker"
  while IFS= read -r path; do
    if [[ -z $path ]]; then continue; fi
    if [[ $known != *$'\n'"$path"$'\n'* ]]; then reason="it was made without $path"; fi
    if [[ $path -nt $marker ]]; then reason="$path is newer"; fi
    producer_of "$path"
    if [[ -z $reason && -n ${pending_stages[${producer:-none}]:-} ]]; then reason="after stage ${producer%.*}"; fi
  done <<<"${stage_inputs[$1]}"
  IFS= read -r recorded <"$marker" || true
  if [[ $recorded != "settings: ${stage_settings[$1]}" ]]; then reason="its settings were ${recorded#settings: }"; fi
  if [[ -n $reason ]]; then verdict=stale; fi
}

# list_stages: the table with its state, and nothing is run.
list_stages() {
  local number
  for number in "${stage_numbers[@]}"; do
    judge_stage "$number"
    if [[ $verdict == stale || $verdict == unfinished ]]; then pending_stages[$number]=true; fi
    printf '%3d  %-12s %-11s %s%s\n' "${number%.*}" "${stage_names[$number]}" "$verdict" "${stage_titles[$number]}" \
      "${reason:+ (${reason})}"
  done
}

# require_inputs NUMBER: stop when an input is missing, and say which stage writes it.
require_inputs() {
  local path producer
  while IFS= read -r path; do
    if [[ -z $path || -e $path ]]; then continue; fi
    producer_of "$path"
    printf 'stage %s (%s) needs %s, which is not there' "${1%.*}" "${stage_names[$1]}" "$path" >&2
    if [[ -n $producer ]]; then
      printf '; stage %s (%s) writes it\n' "${producer%.*}" "${stage_names[$producer]}" >&2
    else
      printf '; no stage writes it, so an option must name it (--help)\n' >&2
    fi
    return 1
  done <<<"${stage_inputs[$1]}"
}

# lock_stage MARKER: two runs never write the same directory at once. Children keep the lock if this shell is killed.
lock_stage() {
  if ! command -v flock >/dev/null; then return 0; fi
  exec {stage_lock}>"$1.lock"
  if ! flock --nonblock "$stage_lock"; then
    echo "   another run is at this stage; waiting for it" >&2
    flock "$stage_lock"
  fi
}

# unlock_stage: let the next run in.
unlock_stage() {
  if [[ -n ${stage_lock:-} ]]; then exec {stage_lock}>&-; fi
  stage_lock=""
}

# begin_stage NUMBER: clear what was made with other settings or inputs, and note what is started.
begin_stage() {
  local marker=${stage_markers[$1]} record previous=""
  record=$(stage_record "$1")
  if [[ -f $marker.begun ]]; then
    previous=$(<"$marker.begun")
  elif [[ -f $marker ]]; then
    previous=$(<"$marker")
  fi
  if [[ -n $previous && $previous != "$record" ]] && declare -F clear_stage >/dev/null; then clear_stage "$1"; fi
  note_begin "$1" "$record"
}

# note_begin NUMBER RECORD: write MARKER.begun and remove the marker.
note_begin() {
  local marker=${stage_markers[$1]}
  mkdir -p "$(dirname "$marker")"
  printf '%s\n' "$2" >"$marker.begun.part"
  mv "$marker.begun.part" "$marker.begun"
  rm -f "$marker"
}

# move_aside DIR: keep what was made with other settings, as old/DIR.1 next to it (no pattern over experiments finds it there).
# The locks stay in DIR: another run, which looks for them there, must find the ones that this run holds.
move_aside() {
  local number=1 kept lock
  if [[ ! -e $1 ]]; then return 0; fi
  kept=$(dirname "$1")/old/${1##*/}
  while [[ -e $kept.$number ]]; do number=$((number + 1)); done
  echo "   $1 was made with other settings or inputs; it is kept as $kept.$number" >&2
  mkdir -p "$(dirname "$kept")"
  mv "$1" "$kept.$number"
  mkdir -p "$1"
  for lock in "$kept.$number"/.*.lock; do
    if [[ -e $lock ]]; then mv "$lock" "$1"; fi
  done
}

# run COMMAND...: run it, or with --dry_run only print it.
run() {
  if $dry_run; then
    printf '  %s\n' "$(printf ' %q' "$@")"
  else
    "$@"
  fi
}

# attend PROGRAM...: run a long command so that a signal to this shell only takes effect at once and ends the command, too.
# (While bash waits for a command in the foreground, its traps wait as well.)
attend() {
  local status=0
  (
    for lock in "${run_locks[@]}"; do exec {lock}>&-; done
    exec "$@"
  ) &
  attended=$!
  wait "$attended" || status=$?
  attended=""
  return "$status"
}

# prepare_once: what the first stage that runs needs.
prepare_once() {
  if ! $is_prepared && declare -F prepare_run >/dev/null; then prepare_run; fi
  is_prepared=true
}

# run_stage NUMBER: one stage.
run_stage() {
  local number=$1 started=$SECONDS
  local marker=${stage_markers[$number]}
  running_stage=$number
  stage_log=""
  if ! $dry_run; then
    require_inputs "$number"
    prepare_once
  fi
  if ! $dry_run && [[ -n $marker ]]; then
    mkdir -p "$(dirname "$marker")"
    lock_stage "$marker"
    judge_stage "$number" # another run may have finished it while this one waited
    if [[ $verdict == finished ]]; then
      unlock_stage
      running_stage=""
      return 0
    fi
    begin_stage "$number"
  fi
  complete_stage "$number" "$started"
  if ! $dry_run && declare -F after_stage >/dev/null; then after_stage "$number"; fi
  running_stage=""
}

# complete_stage NUMBER STARTED: do a stage that has begun, and mark it as finished. `do_stage` is a plain command here, and so is
# this function where it is called, never in `if` or `||`, where `set -e` would be off.
complete_stage() {
  local marker=${stage_markers[$1]}
  do_stage "$1"
  if $dry_run; then return 0; fi
  if [[ -n $marker ]]; then
    require_outputs "$1"
    mv "$marker.begun" "$marker"
    unlock_stage
  fi
  printf '## stage %d %s: done in %d s\n' "${1%.*}" "${stage_names[$1]}" $((SECONDS - $2))
}

# require_outputs NUMBER: a stage that did not fail must have written what the table says.
require_outputs() {
  local path
  while IFS= read -r path; do
    if [[ -n $path && ! -e $path ]]; then
      printf 'stage %s (%s) ended without an error but did not write %s\n' "${1%.*}" "${stage_names[$1]}" "$path" >&2
      return 1
    fi
  done <<<"${stage_outputs[$1]}"
}

# signal_all: tell what this shell has started, and that still runs, to end.
signal_all() {
  if [[ -n $attended ]]; then kill -TERM "$attended" 2>/dev/null || true; fi
  if is_early_running; then kill -TERM "$early_pid" 2>/dev/null || true; fi
}

# await_all: wait until it has ended.
await_all() {
  while [[ -n $attended ]] && kill -0 "$attended" 2>/dev/null; do wait "$attended" || true; done
  while is_early_running; do wait "$early_pid" || true; done
}

# stop_with STATUS: what a signal does. It first says what the next one does: once the EXIT trap runs, it would be too late.
stop_with() {
  trap '' HUP
  trap signal_all INT TERM # Ctrl-C again: utils/launch.sh waits no longer
  exit "$1"
}

# failed_logs LOG: the logs of the jobs that did not end well, a line each; LOG has .JOB. in place of their numbers.
failed_logs() {
  local file last
  local -a found=() failed=()
  if [[ $1 != *.JOB.* ]]; then
    printf '%s\n' "$1"
    return 0
  fi
  for file in "${1%%.JOB.*}".[0-9]*".${1##*.JOB.}"; do
    if [[ ! -f $file ]]; then continue; fi
    found+=("$file")
    last=$(tail -n 1 "$file")
    if [[ $last != "# ended "*" with status 0" ]]; then failed+=("$file"); fi
  done
  if ((${#failed[@]} == 0)); then failed=("${found[@]:-${1%%.JOB.*}.1.${1##*.JOB.}}"); fi
  printf '%s\n' "${failed[@]}"
}

# report_failure: what the EXIT trap prints when a stage has failed. After a signal, what still runs is ended first; after a
# failure, an early stage may end by itself.
report_failure() {
  local status=$?
  set +e # a terminal that is lost cannot be written to
  trap '' HUP
  trap signal_all INT TERM
  if ((status == 130 || status == 143)); then
    signal_all
    await_all
  fi
  if [[ -z $running_stage || $status == 0 ]]; then return 0; fi
  {
    printf '## stage %d %s failed with status %d\n' "${running_stage%.*}" "${stage_names[$running_stage]}" "$status"
    if [[ -n $stage_log ]]; then printf '   log: %s\n' "$(failed_logs "$stage_log" | paste -s -d ' ')"; fi
    printf '   to resume here, once the cause is fixed:%s --stage %d\n' \
      "$(printf ' %q' "${resume_command[@]}")" "${running_stage%.*}"
  } >&2
  if is_early_running; then
    printf '   waiting for stage %d %s, which was started early (log: %s); Ctrl-C ends it\n' "${early_stage%.*}" \
      "${stage_names[$early_stage]}" "$early_log" >&2
    await_all
  fi
}

# run_stages: the stages from $stage to $stop_stage that are not finished.
run_stages() {
  local number
  if $list; then
    list_stages
    return 0
  fi
  trap report_failure EXIT
  trap 'stop_with 130' INT
  trap 'stop_with 143' TERM HUP
  for number in "${stage_numbers[@]}"; do
    if ((${number%.*} < stage || ${number%.*} > stop_stage)); then continue; fi
    if [[ $number == "$early_stage" ]]; then
      finish_early
      continue
    fi
    judge_stage "$number"
    case $verdict in
      "not needed") printf '## stage %d %s: not needed: %s\n' "${number%.*}" "${stage_names[$number]}" "${stage_titles[$number]}" ;;
      finished)
        printf '## stage %d %s: finished before (%s)\n' "${number%.*}" "${stage_names[$number]}" \
          "${stage_markers[$number]:-so is every later stage}"
        if [[ $number == "$stage" && -n ${stage_markers[$number]} ]]; then # which was asked for by its number
          printf '   its settings and inputs are the same; to run it all the same, first: rm %q\n' \
            "$(realpath -ms "${stage_markers[$number]}")"
        fi
        ;;
      *)
        printf '## stage %d %s: %s%s\n' "${number%.*}" "${stage_names[$number]}" "${stage_titles[$number]}" \
          "${reason:+ ($verdict: $reason)}"
        if $dry_run; then pending_stages[$number]=true; else start_early "$number"; fi
        run_stage "$number"
        ;;
    esac
  done
  return "$run_status"
}
