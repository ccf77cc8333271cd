#!/usr/bin/env bash
# Run a command as parallel jobs and wait for them all:
#
#     utils/launch.sh --nj 4 --log dump/log/feats.JOB.log -- python3 -m module --num_jobs 4 --job JOB
#
# An argument that is `JOB`, and `.JOB.` within an argument or the log's name, becomes the job's number, 1 to nj. Each job
# has its own log, which a repeated run continues. Meanwhile the number of finished jobs and, every --every seconds, the
# last line of a running job's log (of a training: the epoch, the time left and the losses) are shown. When jobs fail, the
# others are waited for, the failed ones are tried again --retries times, then the last lines of the first one that still
# fails and the names of the failing logs are printed; the exit status is that job's. Each job gets its share of the
# cores that are free when it starts as OMP_NUM_THREADS, and threads that soon sleep while they wait (GOMP_SPINCOUNT), unless
# these are set already. Of two calls at once with --share 2, each takes at most half of the cores.
# Ctrl-C ends all jobs; a training saves first.
#
# Where they run: here (local), as an array of Slurm's (slurm: utils/launch_slurm.sh), or by the site's own command (site):
# $site_command, then `utils/job.sh DIRECTORY NUMBER`, must run that somewhere and end when it has ended. All of them need
# this directory at the same path. egs/TEMPLATE/cmd.sh has the settings of both.
set -euo pipefail
utils=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=launch_slurm.sh
. "$utils/launch_slurm.sh"
# shellcheck source=launch_report.sh
. "$utils/launch_report.sh"

# --- options
launcher=local  # where the jobs run: local (this machine), slurm, or site ($site_command)
kind=cpu        # what a job is: cpu, gpu (one GPU), or train (all GPUs of all its nodes)
nj=1            # number of jobs
share=1         # number of such calls that share the cores of this machine
nodes=1         # nodes of a training
gpus=0          # GPUs of each node of a training; of this machine, which local jobs of kind gpu share out
log=launch.log  # log file; JOB in it is the job's number
retries=0       # times that failed jobs are tried again
every=20        # seconds between two lines of progress
poll=10         # seconds between two questions to Slurm
lines=15        # lines of a failing log to print
help=false      # print this help
# --- end of options
parse_options "${BASH_SOURCE[0]}" "$@"

# for_job NUMBER WORD: the word with the job's number in place of JOB -> word.
for_job() {
  word=$2
  if [[ $word == JOB ]]; then word=$1; fi
  word=${word//.JOB./.$1.}
}

# free_cores: this call's share of the cores, or fewer, if other processes compute on the rest; at least one. What runs is
# the least of nine looks within 0.2 s, so that a command of a moment does not count; this shell is one of them.
free_cores() {
  local cores all running free look least=""
  cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  if [[ -r /proc/loadavg ]]; then
    all=$(getconf _NPROCESSORS_ONLN)
    for ((look = 1; look <= 9; look++)); do
      read -r _ _ _ running _ </proc/loadavg
      if [[ -z $least ]] || ((${running%%/*} < least)); then least=${running%%/*}; fi
      sleep 0.02
    done
    free=$((all - least + 1))
  fi
  cores=$((cores / share))
  if ((${free:-cores} < cores)); then cores=$free; fi
  echo $((cores > 1 ? cores : 1))
}

# threads_per_job: free cores / jobs, at least one; a job that resumes has as many as before, or its sums would be others.
threads_per_job() {
  local cores before=""
  if [[ $nj == 1 && -r ${logs[1]} ]]; then
    before=$(sed -n 's/^# started .*, \([0-9]*\) threads: .*/\1/p' "${logs[1]}" | tail -n 1)
  fi
  if [[ -n $before ]]; then
    echo "$before"
    return 0
  fi
  cores=$(free_cores)
  echo $((cores > nj ? cores / nj : 1))
}

# write_commands COMMAND...: a file for each job, which utils/job.sh reads, and one that identifies the whole work.
write_commands() {
  local job argument word
  rm -rf "$work"
  mkdir -p "$work"
  printf '%s\0' "$kind" "$nodes" "$gpus" "$nj" "$@" >"$work/command"
  for ((job = 1; job <= nj; job++)); do
    {
      printf '%s\0%s\0%s\0' "${logs[job]}" "$kind" "$PWD"
      for argument in "$@"; do
        for_job "$job" "$argument"
        printf '%s\0' "$word"
      done
    } >"$work/$job.command"
  done
  if [[ $launcher == site ]]; then (umask 077 && env -0 >"$work/environment"); fi # it may hold tokens
}

# visible_gpu JOB: the GPU of a local job, one of those that are visible to the user.
visible_gpu() {
  local -a all
  IFS=, read -ra all <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((gpus - 1)))}"
  echo "${all[($1 - 1) % ${#all[@]}]}"
}

# start_local JOB...: jobs as processes of this machine, or through the site's command.
start_local() {
  local job word
  local -a prefix=() words
  export JOB_KIND=$kind JOB_NODES=$nodes JOB_GPUS=$gpus # for the site's command
  if [[ $launcher == site ]]; then
    read -ra prefix <<<"${site_command:-}"
  else
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(threads_per_job)}
    export OMP_NUM_THREADS
    if [[ $kind == gpu ]] && ((gpus > 0)); then prefix=(env); fi
  fi
  set -m # every job is a process group of its own, which stop_all can end
  for job in "$@"; do
    if ((${#prefix[@]})) && [[ ${prefix[0]} == env && $launcher == local ]]; then
      prefix=(env "CUDA_VISIBLE_DEVICES=$(visible_gpu "$job")")
    fi
    rm -f "$work/$job."{stop,started}
    words=("$utils/job.sh" "$work" "$job")
    if ((${#prefix[@]})) && [[ ${prefix[0]##*/} == ssh ]]; then # it joins them with spaces, for a shell to split
      words=()
      for word in "$utils/job.sh" "$work" "$job"; do words+=("'${word//\'/\'\\\'\'}'"); done
    fi
    "${prefix[@]}" "${words[@]}" </dev/null >>"$work/$job.out" 2>&1 &
    pids[job]=$!
  done
}

# await_local JOB...: wait until all have ended; one that ends without a status was killed.
await_local() {
  local job left=$# before
  while ((left > 0)); do
    wait -n "${pids[@]}" 2>/dev/null || sleep 0.1 # it fails when a job has ended before
    before=$left
    left=0
    for job in "$@"; do
      if [[ -e $work/$job.status ]]; then continue; fi
      if kill -0 "${pids[job]}" 2>/dev/null; then
        left=$((left + 1))
      elif [[ ! -e $work/$job.status ]]; then # it may have been written meanwhile
        echo "137 killed" >"$work/$job.status"
      fi
    done
    if ((left != before && nj > 1)); then say_done; fi
  done
}

# is_alive: whether a job that was started here still runs.
is_alive() {
  local pid
  for pid in "${pids[@]}"; do
    if kill -0 -- "-$pid" 2>/dev/null; then return 0; fi
  done
  return 1
}

# stop_local: end every process group that was started, with all descendants; a training may save first. A site's command may
# die without ending its remote job, so there the job looks for a file, and the command is left to end by itself.
stop_local() {
  local job pid tries
  if ! is_alive; then return 0; fi
  if [[ $kind == train ]]; then echo "   waiting for the training to save; Ctrl-C again kills it" >&3; fi
  for job in "${!pids[@]}"; do
    if [[ $launcher == site ]]; then : >"$work/$job.stop"; fi
    if [[ ! -e $work/$job.started ]]; then kill -TERM -- "-${pids[job]}" 2>/dev/null || true; fi
  done
  for ((tries = 0; tries < (is_hurried ? 0 : 10) * patience; tries++)); do
    if ! is_alive; then return 0; fi
    sleep 0.1
  done
  for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
}

# is_left_behind: whether a site's job was started and is not known to have ended.
is_left_behind() {
  local started
  for started in "$work"/*.started; do
    if [[ -e $started && ! -e ${started%.started}.status ]]; then return 0; fi
  done
  return 1
}

# stop_with STATUS: what a signal does. It first says what the next one does: once the EXIT trap runs, it would be too late.
stop_with() {
  stopped_at=$SECONDS
  trap '' HUP
  trap hurry INT TERM
  exit "$1"
}

# hurry: what a second signal does. The first may come twice within a moment, from the terminal and through the recipe's shell.
hurry() {
  if ((SECONDS > stopped_at + 1)); then is_hurried=1; fi
}

# stop_all: what the EXIT trap does. Jobs of Slurm outlive a lost connection; the next run finds them.
stop_all() {
  local status=$?
  set +e # a lost terminal, which cannot be written to, must not keep anything from being ended
  trap '' HUP
  trap hurry INT TERM
  exec 3>&2 2>/dev/null # bash would report each job that it sees killed
  if [[ -n $progress_pid ]]; then kill -TERM -- "-$progress_pid" || true; fi
  if $is_done; then
    rm -rf "$work"
  else
    if [[ $launcher == slurm ]]; then stop_slurm "$status"; else stop_local; fi
    if is_left_behind; then
      echo "   jobs may still end on their machines; they were told to by $work/*.stop" >&3
    elif [[ ! -e $work/slurm_job ]]; then
      rm -rf "$work"
    fi
  fi
}

# run_jobs JOB...: start them, or keep waiting for those of an earlier run, until all have a status.
run_jobs() {
  if [[ $launcher == slurm ]]; then
    if [[ ! -e $work/slurm_job ]]; then submit_slurm "$@"; fi
    await_slurm "$@"
    rm -f "$work/slurm_job"
  else
    start_local "$@"
    await_local "$@"
    pids=()
  fi
}

# run_and_retry: all jobs, then the failed ones again; what someone cancelled is not tried again.
run_and_retry() {
  local attempt job status note
  local -a todo=()
  for ((job = 1; job <= nj; job++)); do todo+=("$job"); done
  for ((attempt = 0; ; attempt++)); do
    run_jobs "${todo[@]}"
    while was_taken_away; do # a training that resumes may be taken away as often as it has saved something new
      printf '   %s; the training has saved meanwhile and resumes\n' "$(<"$work/1.status")" >&2
      rm "$work/1.status"
      run_jobs 1
    done
    todo=()
    for ((job = 1; job <= nj; job++)); do
      read -r status note <"$work/$job.status"
      if ((status != 0)) && [[ $note != CANCELLED* ]]; then todo+=("$job"); fi
    done
    if ((attempt >= retries || ${#todo[@]} == 0)); then return 0; fi
    printf '   failed and tried again (%d of %d times): job %s\n' "$((attempt + 1))" "$retries" "${todo[*]}" >&2
    for job in "${todo[@]}"; do rm "$work/$job.status"; done
  done
}

if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi
if ((${#positional[@]} == 0)); then wrong_usage "no command given after --"; fi
if ((share < 1)); then wrong_usage "--share is at least 1"; fi
if ((nj < 1)); then wrong_usage "--nj is at least 1"; fi
if ((nj > 1)) && [[ $log != *.JOB.* ]]; then wrong_usage "--log '$log' needs .JOB. in it: $nj jobs cannot share a log"; fi
case $kind in cpu | gpu | train) ;; *) wrong_usage "unknown --kind '$kind'; there are: cpu gpu train" ;; esac
case $launcher in
  local) if ((nodes > 1)); then wrong_usage "--nodes $nodes needs --launcher slurm: this is one machine"; fi ;;
  slurm) ;;
  site) if [[ -z ${site_command:-} ]]; then wrong_usage "--launcher site needs the variable site_command (cmd.sh)"; fi ;;
  *) wrong_usage "unknown --launcher '$launcher'; there are: local slurm site" ;;
esac
logs=()
for ((job = 1; job <= nj; job++)); do
  for_job "$job" "$log"
  logs[job]=$word
done
mkdir -p "$(dirname "${logs[1]}")"
work=$(cd "$(dirname "${logs[1]}")" && pwd)/.$(basename "${log/.JOB./.}").jobs # every machine must see it
pids=()
progress_pid=""
is_done=false
stopped_at=0
is_hurried=0
patience=$([[ $kind == train ]] && echo 300 || echo 10) # seconds
if [[ $launcher == slurm ]]; then find_slurm "${positional[@]}"; else write_commands "${positional[@]}"; fi
trap stop_all EXIT
trap 'stop_with 129' HUP
trap 'stop_with 130' INT
trap 'stop_with 143' TERM
set -m
show_progress &
progress_pid=$!
run_and_retry
is_done=true
report_failures
