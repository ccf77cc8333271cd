#!/usr/bin/env bash
# One job of utils/launch.sh, on whatever machine it runs:
#
#     utils/job.sh DIRECTORY [NUMBER]
#
# DIRECTORY/NUMBER.command holds the log, the kind (cpu, gpu or train), the directory to run in and the command, each ended by
# a zero byte; NUMBER is that of Slurm's array, if it is not given. DIRECTORY/environment, where there is one, is the
# launcher's: this job came by the site's own command, which may bring neither environment nor signals. The last thing
# written is DIRECTORY/NUMBER.status: exit status and machine; the exit status is the command's, too.
#
# SIGTERM ends the command. A training is asked to stop instead (SPEECHLLAMA_STOP_FILE): it saves and ends by itself. SIGUSR1,
# which Slurm sends ahead of the time limit, does the same, and then the job is put back into Slurm's queue and resumes there.
# At a site, DIRECTORY/NUMBER.stop does what SIGTERM does. A job that Slurm itself takes away (preemption, a dead node, scancel)
# writes no status: Slurm reports it.
set -euo pipefail

directory=$1
job=${2:-${SLURM_ARRAY_TASK_ID:?is the second argument, outside of Slurm}}
mapfile -d "" words <"$directory/$job.command"
log=${words[0]}
kind=${words[1]}
command=("${words[@]:3}")
cd "${words[2]}"
signal=""
child=""
is_interrupted=false

# take_environment FILE: set what the launcher has exported and this machine lacks, except what describes a machine.
take_environment() {
  local line
  local -a lines
  mapfile -d "" lines <"$1"
  for line in "${lines[@]}"; do
    case ${line%%=*} in
      PATH | PYTHONPATH | LD_LIBRARY_PATH | VIRTUAL_ENV) export "${line?}" ;;
      SLURM* | SSH_* | XDG_* | TMPDIR | HOSTNAME | DISPLAY | *[!A-Za-z0-9_]*) ;;
      *) if [[ ! -v ${line%%=*} ]]; then export "${line?}"; fi ;;
    esac
  done
}

# await_stop_file: end this job when its stop file appears; a training looks for the file itself.
await_stop_file() {
  while kill -0 $$ 2>/dev/null; do
    if [[ -e $directory/$job.stop ]]; then kill -TERM $$ && return 0; fi
    sleep 1
  done
}

# stop SIGNAL: end the command; ask a training to save and end.
stop() {
  signal=$1
  is_interrupted=true
  if [[ $kind == train ]]; then
    : >"$directory/$job.stop"
  elif [[ -n $child ]]; then
    kill -TERM "$child" 2>/dev/null || true
  fi
}

# start_on_nodes: change the command so that it starts once on every node of this Slurm job; torchrun reads PET_*.
start_on_nodes() {
  local first
  local -a cpus=()
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
  # The address that Slurm itself uses for the node: names of nodes need not be known to the network.
  PET_MASTER_ADDR=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
  PET_MASTER_PORT=$((20000 + (SLURM_JOB_ID + ${SLURM_RESTART_COUNT:-0} * 1009) % 12000))
  export PET_MASTER_ADDR PET_MASTER_PORT
  if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then cpus=(--cpus-per-task="$SLURM_CPUS_PER_TASK"); fi # srun no longer inherits it
  command=(srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "${cpus[@]}" --kill-on-bad-exit=1
    bash -c "PET_NODE_RANK=\$SLURM_NODEID exec \"\$@\"" node "${command[@]}")
}

# run_command: run the command until it has ended -> status. A trapped signal ends `wait`, not the command.
run_command() {
  "${command[@]}" &
  child=$!
  while :; do
    status=0
    is_interrupted=false
    wait "$child" || status=$?
    if ! $is_interrupted; then break; fi
  done
}

mkdir -p "$(dirname "$log")"
exec >>"$log" 2>&1 </dev/null
trap 'stop USR1' USR1
trap 'stop TERM' TERM
if [[ -e $directory/environment ]]; then
  if [[ -e $directory/$job.stop ]]; then exit 143; fi # it was stopped before it began
  take_environment "$directory/environment"
  : >"$directory/$job.started"
else
  rm -f "$directory/$job.stop" # of the run before Slurm's requeueing
fi
rm -f "$directory/$job.status"
# A thread that waits for another spins for 150 us, then sleeps. By default OpenMP spins for 15 ms; next to another process,
# that takes the core from the very thread that is waited for. To sleep at once is slower on a free machine. Measured by tools/benchmark_threads.py.
if [[ ! -v OMP_WAIT_POLICY && ! -v GOMP_SPINCOUNT ]]; then export GOMP_SPINCOUNT=3000; fi
if [[ $kind == train ]]; then export SPEECHLLAMA_STOP_FILE=$directory/$job.stop; fi
if [[ -n ${SLURM_JOB_ID:-} ]]; then export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}; fi
printf '# started %s on %s, %s threads:' "$(date '+%F %T')" "${SLURMD_NODENAME:-$(hostname)}" "${OMP_NUM_THREADS:-all}"
printf ' %q' "${command[@]}"
printf '\n'
if [[ -n ${SLURM_JOB_ID:-} && $kind == train ]]; then start_on_nodes; fi
watcher=""
if [[ -e $directory/environment && $kind != train ]]; then
  await_stop_file &
  watcher=$!
fi
run_command
if [[ -n $watcher ]]; then kill "$watcher" 2>/dev/null || true; fi
printf '# ended %s with status %d\n' "$(date '+%F %T')" "$status"
if [[ -n $signal && $status != 0 && -n ${SLURM_JOB_ID:-} ]]; then
  if [[ $signal == TERM ]]; then exit "$status"; fi
  printf '# back into the queue of Slurm\n'
  if scontrol requeue "$SLURM_JOB_ID"; then exit 0; fi
fi
printf '%d %s\n' "$status" "${SLURMD_NODENAME:-$(hostname)}" >"$directory/$job.status.part"
mv "$directory/$job.status.part" "$directory/$job.status"
(exit "$status")
