#!/usr/bin/env bash
# Run a command as parallel jobs and wait for them all:
#
#     utils/launch.sh --nj 4 --log dump/log/feats.JOB.log -- python3 -m module --num_jobs 4 --job JOB
#
# An argument that is `JOB`, and `.JOB.` within an argument or the log's name, becomes the job's number, 1 to nj. Each job
# has its own log, which a repeated run continues. Meanwhile the number of finished jobs and, every --every seconds, the
# last line of a running job's log (of a training: the epoch, the time left and the losses) are shown. When jobs fail, the
# others are waited for, then the last lines of the first one that failed and the names of the failing logs are printed;
# the exit status is that job's. Nothing is tried twice. Each job gets its share of the cores as OMP_NUM_THREADS, unless
# that is set already. Ctrl-C ends all jobs.
set -euo pipefail
# shellcheck source=parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"

# --- options
launcher=local  # where the jobs run: local (this machine)
nj=1            # number of jobs
log=launch.log  # log file; JOB in it is the job's number
every=20        # seconds between two lines of progress
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

# threads_per_job: cores / jobs, at least one.
threads_per_job() {
  local cores
  cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
  echo $((cores > nj ? cores / nj : 1))
}

# run_job NUMBER COMMAND...: one job with its log; its exit status goes to a file, since `wait` may see it too late.
run_job() {
  local job=$1 argument word status=0
  local -a command=()
  shift
  for argument in "$@"; do
    for_job "$job" "$argument"
    command+=("$word")
  done
  {
    printf '# started %s:' "$(date '+%F %T')"
    printf ' %q' "${command[@]}"
    printf '\n'
    "${command[@]}" || status=$?
    printf '# ended %s with status %d\n' "$(date '+%F %T')" "$status"
  } >>"${logs[job]}" 2>&1 </dev/null
  echo "$status" >"$work/$job.part"
  mv "$work/$job.part" "$work/$job.status"
}

# latest_news LOG: of a training the current epoch, the time left and the last losses; of anything else the last line.
latest_news() {
  awk '
    /^# started /{last = ""; epoch = ""; losses = ""; next}
    {gsub(/\r/, "")}
    /^\[.*INFO: /{sub(/^\[.*INFO: /, "")}
    /^[0-9]+\/[0-9]+epoch started/{epoch = $0}
    /^[0-9]+epoch results: /{
      losses = ""
      number = split($0, parts, /\[|, /)
      for (i = 1; i <= number; i++) {
        if (parts[i] ~ /^(train|valid)\] /) {side = substr(parts[i], 1, 5); sub(/^[a-z]*\] /, "", parts[i])}
        if (parts[i] ~ /^loss=/) losses = losses "; " side " " parts[i]
      }
    }
    NF {last = $0}
    END {if (epoch != "") print epoch losses; else print last}' "$1" | cut -c 1-150
}

# show_progress: for ever, what the first job that still runs is at.
show_progress() {
  local job
  while sleep "$every"; do
    for ((job = 1; job <= nj; job++)); do
      if [[ ! -e $work/$job.status ]]; then
        printf '   %s\n' "$(latest_news "${logs[job]}")" >&2
        break
      fi
    done
  done
}

# stop_all: end every process group that was started (they hold grandchildren, too).
stop_all() {
  local pid
  exec 2>/dev/null # bash would report each job that it sees killed
  for pid in "${pids[@]}" ${progress_pid:+"$progress_pid"}; do
    kill -TERM -- "-$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}

# last_lines LOG: the last lines of the latest run in a log.
last_lines() {
  awk '/^# started /{text = ""; next} /^# ended /{next} {text = text $0 "\n"} END{printf "%s", text}' "$1" | tail -n "$lines"
}

# report_failures: what failed, where, and why; leave with the first failing job's status.
report_failures() {
  local job status first=0 first_status=1
  local -a failed=()
  for ((job = 1; job <= nj; job++)); do
    status=137 # no status file: the job was killed
    if [[ -e $work/$job.status ]]; then status=$(<"$work/$job.status"); fi
    if ((status != 0)); then
      failed+=("${logs[job]}")
      if ((first == 0)); then
        first=$job
        first_status=$status
      fi
    fi
  done
  if ((first == 0)); then return 0; fi
  {
    printf '%d of %d jobs failed; the last lines of job %d (status %d):\n' "${#failed[@]}" "$nj" "$first" "$first_status"
    last_lines "${logs[first]}" | sed 's/^/   | /'
    printf 'failing log: %s\n' "${failed[@]}"
  } >&2
  return "$first_status"
}

# run_local COMMAND...: all jobs at once on this machine.
run_local() {
  local job word num_done=0
  OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(threads_per_job)}
  export OMP_NUM_THREADS
  for ((job = 1; job <= nj; job++)); do
    for_job "$job" "$log"
    logs[job]=$word
    mkdir -p "$(dirname "$word")"
  done
  set -m # every job is a process group of its own, which stop_all can end
  for ((job = 1; job <= nj; job++)); do
    run_job "$job" "$@" &
    pids+=("$!")
  done
  show_progress &
  progress_pid=$!
  while ((num_done < nj)); do
    wait -n "${pids[@]}" 2>/dev/null || sleep 0.1 # it fails when a job has ended before
    count_done
  done
}

# count_done: the number of ended jobs -> num_done; those that ended without a status file were killed.
count_done() {
  local job ended=0
  for ((job = 1; job <= nj; job++)); do
    if [[ -e $work/$job.status ]] || ! kill -0 "${pids[job - 1]}" 2>/dev/null; then ended=$((ended + 1)); fi
  done
  if ((ended != num_done && nj > 1)); then printf '   %d/%d jobs done\n' "$ended" "$nj" >&2; fi
  num_done=$ended
}

if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi
if ((${#positional[@]} == 0)); then wrong_usage "no command given after --"; fi
if ((nj < 1)); then wrong_usage "--nj is at least 1"; fi
if ((nj > 1)) && [[ $log != *.JOB.* ]]; then wrong_usage "--log '$log' needs .JOB. in it: $nj jobs cannot share a log"; fi
logs=()
pids=()
progress_pid=""
work=$(mktemp -d)
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
case $launcher in
  local) run_local "${positional[@]}" ;;
  *) wrong_usage "unknown --launcher '$launcher'; there is: local" ;;
esac
report_failures
