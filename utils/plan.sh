#!/usr/bin/env bash
# Fill the table of utils/stages.sh with what Python has planned, and run its rows. Source this file, then call plan_run and
# run_stages. The caller defines prepare_run, which makes the environment. The plan is printed by speechllama/recipe/plan.py.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck source=stages.sh
. "$root/utils/stages.sh"
: "${python:=}" "${ngpu:=0}" "${num_nodes:=1}" "${system_dir:=}"

plan_words=() # all words of the plan; rows name theirs by their place in it
plan_request=() # what the plan was made of
planner=""      # the Python that makes it
row_key="" # of the row that the next records belong to
declare -A row_replans # rows whose outputs the plan itself looks at
declare -A row_jobs row_clears row_shows # row -> "place:number" of the words of each

# find_planner: a Python that is new enough to plan: python3, which may be an old one of the system's, or another -> planner.
find_planner() {
  for planner in python3 python3.11 python3.12 python3.10 python3.13; do
    if "$planner" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then return 0; fi
  done
  echo "${0##*/}: no Python 3.10 to 3.13 on the PATH; install one, or run $root/tools/install.sh --python PATH" >&2
  exit 1
}

# read_plan WORD...: ask for a plan -> plan_words; the status is that of the program.
read_plan() {
  local status=0
  mapfile -d "" plan_words < <(PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "$planner" -m speechllama.bin.plan "$@")
  wait "$!" || status=$?
  return "$status"
}

# plan_run WORD...: plan the run in the environment. If there is none yet, any Python checks the options, and the environment
# is made before the plan.
plan_run() {
  local bin status=0
  plan_request=("$@")
  if bin=$("$root/tools/install.sh" --print_bin --present_only 2>/dev/null); then PATH=$bin:$PATH; fi
  find_planner
  read_plan "$@" || status=$?
  if ((status == 3)); then # a Python without our packages has checked the options only
    take_plan
    prepare_run
    find_planner
    status=0
    read_plan "$@" || status=$?
  fi
  if ((status)); then exit "$status"; fi
  take_plan
}

# take_plan: read every record of the plan (key, number of words, words), replacing an earlier plan.
take_plan() {
  local at=0 key count
  stage_numbers=()
  stage_names=()
  stage_skips=()
  row_jobs=()
  row_clears=()
  row_shows=()
  row_replans=()
  early_stages=()
  while ((at < ${#plan_words[@]})); do
    key=${plan_words[at]}
    count=${plan_words[at + 1]}
    at=$((at + 2))
    "take_$key" "${plan_words[@]:at:count}"
    at=$((at + count))
  done
}

# take_help OPTIONS: the script's header and its options; the caller is in the script's directory.
take_help() {
  print_header "${0##*/}"
  printf '%s\n' "$1"
  exit 0
}

take_set() { printf -v "$1" '%s' "$2"; }

# take_cmd FILE: where jobs run.
take_cmd() {
  # shellcheck source=../egs/TEMPLATE/cmd.sh
  . "$1"
  : "${launcher:=local}" "${retries:=0}" "${poll:=10}" # not before: a cmd.sh asks whether the user has set them
  export launcher # for the check
  case $launcher in
    local | slurm | site) ;;
    *) wrong_usage "$1: unknown launcher '$launcher', expected one of local, slurm, site" ;;
  esac
  if ((num_nodes > 1)) && [[ $launcher != slurm ]]; then
    wrong_usage "--num_nodes $num_nodes needs launcher=slurm, and $1 says $launcher"
  fi
}

# take_hold MODE DIR: a lock of this run.
take_hold() {
  if ! $list && ! $dry_run; then hold "$1" "$2"; fi
}

# take_stage NUMBER NAME MARKER TITLE SETTINGS SKIP: a row, to which the following records belong.
take_stage() {
  add_stage "$1" "$2" "$3" "${6:-$4}" "$5"
  row_key=${stage_numbers[-1]}
  if [[ -n $6 ]]; then stage_skips[$row_key]=$6; fi
}

# A path below this directory counts as the relative one, however it was given.
take_input() { if (($#)); then stage_inputs[$row_key]=$(printf '%s\n' "${@#"$PWD"/}")$'\n'; fi; }
take_output() { if (($#)); then stage_outputs[$row_key]=$(printf '%s\n' "${@#"$PWD"/}")$'\n'; fi; }
take_replan() { row_replans[$row_key]=true; }
take_early() { early_stages[$row_key]=true; }

# The words of these are looked up when the row runs.
take_show() { row_shows[$row_key]=$at:$#; }
take_clear() { row_clears[$row_key]+=" $at:$#"; }
take_job() { row_jobs[$row_key]+=" $at:$#"; }

# do_stage ROW: its jobs, one after the other, then its reports.
do_stage() {
  local place words file
  for place in ${row_jobs[$1]:-}; do
    words=("${plan_words[@]:${place%:*}:${place#*:}}")
    do_job "${words[@]}"
  done
  place=${row_shows[$1]:-0:0}
  for file in "${plan_words[@]:${place%:*}:${place#*:}}"; do
    if ! $dry_run && [[ -f $file ]]; then cat "$file"; fi
  done
}

# after_stage ROW: plan the later stages again, where they depend on files that only this one has made.
after_stage() {
  if [[ -z ${row_replans[$1]:-} ]]; then return 0; fi
  read_plan "${plan_request[@]}" || exit
  take_plan
}

# may_start_early ROW: whether a later stage may run next to this one. On Slurm each has a machine of its own. On this machine,
# next to a training, if each gets half of the cores: a training is only 1.4 times as fast with two threads as with one. Data
# work uses all cores anyway. Not with GPUs: both would share the first one, and batches are sized to fill its memory. Not with
# a site's command, which may lead to one machine.
may_start_early() {
  local place cores
  if [[ $launcher == slurm ]]; then return 0; fi
  if [[ $launcher != local ]] || ((ngpu > 0)); then return 1; fi
  cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  if ((2 * ${OMP_NUM_THREADS:-1} > cores)); then return 1; fi
  for place in ${row_jobs[$1]:-}; do
    if [[ ${plan_words[${place%:*}]} == train ]]; then return 0; fi
  done
  return 1
}

# do_job KIND NUMBER LOG WORD...: run it, or with --dry_run print it.
do_job() {
  local kind=$1 number=$2 share=1
  stage_log=$3
  shift 3
  if [[ $kind == check ]]; then
    check_now "$@"
  elif $dry_run; then
    run "$@"
  else
    if [[ $kind == gpu ]] && ((ngpu == 0)); then kind=cpu; fi
    if has_company; then share=2; fi
    attend "$root/utils/launch.sh" --launcher "$launcher" --retries "$retries" --poll "$poll" --kind "$kind" \
      --share "$share" --nodes "$num_nodes" --gpus "$ngpu" --nj "$number" --log "$stage_log" -- "$@"
  fi
}

# finished_stages: names of the finished stages -> names.
finished_stages() {
  local number verdict reason
  names=""
  for number in "${stage_numbers[@]}"; do
    if [[ -z ${stage_markers[$number]} || -n ${stage_skips[$number]:-} ]]; then continue; fi
    judge_stage "$number"
    if [[ $verdict == finished ]]; then names+="${names:+ }${stage_names[$number]}"; fi
  done
}

# check_now WORD...: a check, which a dry run really does, with an effect on its exit status. FINISHED in the command stands
# for the names of the finished stages.
check_now() {
  local names word
  local -a words=()
  finished_stages
  for word in "$@"; do
    if [[ $word == FINISHED ]]; then word=$names; fi
    words+=("$word")
  done
  if ! $dry_run; then
    attend "${words[@]}"
    return 0
  fi
  run "${words[@]}"
  if ! "$root/tools/install.sh" --present_only ${python:+--python "$python"} 2>/dev/null; then
    echo "   the check itself is left out: the environment is not installed yet (tools/install.sh)"
    return 0
  fi
  prepare_run
  "${words[@]}" || run_status=1
}

# clear_stage ROW: remove what was made with other settings, unless another run is reading it.
clear_stage() {
  local place
  for place in ${row_clears[$1]:-}; do clear_paths "${plan_words[@]:${place%:*}:${place#*:}}"; done
}

# clear_paths HOW SHARED PATH...: move them aside or remove them, with an exclusive lock on what is shared.
clear_paths() {
  local how=$1 shared=$2 path
  shift 2
  if [[ -n $shared ]]; then hold exclusive "$shared"; fi
  for path in "$@"; do
    if [[ $how == move_aside ]]; then move_aside "$path"; else rm -rf "${path:?}"; fi
  done
  if [[ -n $shared && $shared != "$system_dir" ]]; then hold shared "$shared"; fi
}

# hold MODE DIR: lock a directory for this run, exclusive or shared with runs that only read it; exit if it is taken. Jobs do
# not hold the lock: if only this shell is killed, the next run waits for them at their stage.
hold() {
  local status=0 lock=$2/.run.lock fd=${run_locks[$2]:-}
  if ! command -v flock >/dev/null; then return 0; fi
  if [[ -z $fd ]]; then
    mkdir -p "$2"
    exec {fd}<>"$lock"
    run_locks[$2]=$fd
  fi
  flock "--$1" --nonblock --conflict-exit-code 99 "$fd" || status=$?
  if ((status == 99)); then
    echo "$(realpath -ms "$2"): another run is at work there ($(tail -n 1 "$lock"));" \
      "wait for it, end it, or give this one a directory of its own with --tag" >&2
    exit 1
  fi
  echo "host $(hostname), process $$, since $(date '+%F %T')" >"$lock"
}
