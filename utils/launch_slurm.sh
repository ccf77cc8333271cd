#!/usr/bin/env bash
# Jobs of utils/launch.sh as one array of Slurm's. Sourced by it.
#
# submitit, the Python library for this, does not fit: it runs pickled Python functions, not commands, and it asks sacct how
# a job ended, so on a cluster without accounting it waits for a cancelled job for ever. The commands used here are on every
# cluster: sbatch, squeue, scontrol, scancel. utils/job.sh records how each job has ended.
#
# The number of the array is kept next to the log. When the terminal is lost, the jobs stay in the queue, and the same
# command waits for them again in place of submitting them a second time.
: "${work:=}" "${kind:=cpu}" "${nodes:=1}" "${gpus:=0}" "${nj:=1}" "${poll:=10}" "${log:=}" "${utils:=utils}"
: "${patience:=10}" "${is_hurried:=0}" "${launcher:=slurm}"

# ask_slurm: number, state and reason of each job of the array that Slurm still has -> answer; 1 if Slurm does not answer.
ask_slurm() {
  answer=$(squeue --noheader --array --jobs="$(<"$work/slurm_job")" --format='%K %T %r' 2>&1) && return 0
  if [[ $answer == *"Invalid job id"* ]]; then
    answer=""
    return 0
  fi
  printf 'Slurm does not answer (%s); asking again\n' "${answer##*$'\n'}" >"$work/queue"
  return 1
}

# find_slurm COMMAND...: take over the array of an earlier run whose terminal was lost, or prepare a new one.
find_slurm() {
  local id answer known
  if ! command -v sbatch >/dev/null; then
    echo "launcher=slurm, but there is no sbatch here: start this on a login node, or set launcher in cmd.sh" >&2
    exit 1
  fi
  if [[ -s $work/slurm_job ]]; then
    id=$(<"$work/slurm_job")
    if ! ask_slurm; then
      echo "Slurm job $id of an earlier run may still be there, but $(<"$work/queue")" >&2
      exit 1
    fi
    if [[ -n $answer ]]; then
      known=$(cksum <"$work/command")
      if [[ $known == "$(printf '%s\0' "$kind" "$nodes" "$gpus" "$nj" "$@" | cksum)" ]]; then
        echo "   Slurm job $id of an earlier run is still there; waiting for it" >&2
        return 0
      fi
      echo "Slurm job $id of an earlier run still writes $log, with another command; wait for it, or: scancel $id" >&2
      exit 1
    fi
  fi
  write_commands "$@"
}

# submit_slurm JOB...: the jobs as one array; the number goes to the file slurm_job.
submit_slurm() {
  local list id of_kind=slurm_$kind pattern=${log//%/%%}
  local -a options further
  list=$(IFS=, && echo "$*")
  pattern=${pattern/.JOB./.%a.}
  # The log is also where Slurm says why it ends a job.
  options=(--parsable --array="$list" --job-name="$(basename "${log%%.*}")" --output="$pattern" --open-mode=append --requeue)
  case $kind in
    cpu) options+=(--ntasks=1) ;;
    gpu) options+=(--ntasks=1 --gpus-per-node=1) ;;
    train)
      options+=(--nodes="$nodes" --ntasks-per-node=1 --signal="B:USR1@${stop_seconds:-120}")
      if ((gpus > 0)); then options+=(--gpus-per-node="$gpus"); fi
      ;;
  esac
  read -ra further <<<"${slurm_options:-} ${!of_kind:-}"
  : >"$work/submitted" # on the disk of the checkpoints, by whose clock they are newer
  if ! id=$(sbatch "${options[@]}" "${further[@]}" "$utils/job.sh" "$work"); then
    {
      printf 'Slurm did not take the job; it was asked: sbatch %s\n' "${options[*]} ${further[*]}"
      printf 'your options are slurm_options and %s of cmd.sh; the partitions here: %s\n' "$of_kind" \
        "$(sinfo --noheader --format=%R 2>&1 | sort -u | tr '\n' ' ')"
    } >&2
    exit 1
  fi
  echo "${id%%;*}" >"$work/slurm_job.part"
  mv "$work/slurm_job.part" "$work/slurm_job"
  printf '   Slurm job %s: %d jobs\n' "${id%%;*}" "$#" >&2
}

# describe_queue: how many jobs are in which state, and for what the waiting ones wait -> the file queue.
describe_queue() {
  local id
  id=$(<"$work/slurm_job")
  awk -v id="$id" '
    NF {state = $2; reason = $0; sub(/^[^ ]+ [^ ]+ ?/, "", reason); if (state == "PENDING") state = "PENDING (" reason ")"
        number[state]++; if (reason !~ /^(None|Priority|Resources|BeginTime|Dependency|)$/) odd = 1}
    END {for (state in number) text = text (text ? ", " : "") number[state] " " tolower(substr(state, 1, 7)) substr(state, 8)
         if (text) print "Slurm job " id ": " text (odd ? "; more: scontrol show job " id ", sinfo -R; to give up: Ctrl-C" : "")}
  ' <<<"$answer" >"$work/queue.part"
  if grep -q pending "$work/queue.part"; then # Slurm says late, or not at all, that it waits for a node that is down
    sinfo --noheader --list-reasons --format='not in service: %N: %E' | sed -n '1,3p' >>"$work/queue.part" || true
  fi
  mv "$work/queue.part" "$work/queue"
}

# status_of JOB: exit status of a job that has left the queue, and what Slurm says about it, such as "137 TIMEOUT by Slurm on
# n1"; 1 if Slurm has forgotten it. The exit status of utils/job.sh counts, even if its status file has not arrived yet.
status_of() {
  local text state node="" status=137
  text=$(scontrol show job --oneliner "$(<"$work/slurm_job")_$1" 2>/dev/null | tail -n 1) || true
  if [[ ! $text =~ JobState=([A-Z_]+) ]]; then return 1; fi
  state=${BASH_REMATCH[1]}
  if [[ $text =~ \ NodeList=([^ ]+) ]]; then node=" on ${BASH_REMATCH[1]}"; fi
  if [[ $state =~ ^(COMPLETED|FAILED)$ && $text =~ \ ExitCode=([0-9]+):0 ]]; then status=${BASH_REMATCH[1]}; fi
  if [[ $state == FAILED && $status == 0 ]]; then status=137; fi
  printf '%s %s by Slurm%s\n' "$status" "$state" "$node"
}

# was_taken_away: whether Slurm took a training from its node after it had saved something new; if it has not, it has failed.
was_taken_away() {
  local status note file folder
  if [[ $launcher != slurm || $kind != train ]]; then return 1; fi
  read -r status note <"$work/1.status"
  if ((status == 0)) || [[ $status != 75 && ! $note =~ ^(PREEMPTED|TIMEOUT|NODE_FAIL|BOOT_FAIL)\  ]]; then return 1; fi
  folder=$(dirname "$log")
  for file in "$folder"/{interrupted,checkpoint}.pth; do
    if [[ $file -nt $work/submitted ]]; then return 0; fi
  done
  return 1
}

# await_slurm JOB...: wait until each has a status; one that wrote none and has left the queue gets one here.
await_slurm() {
  local job answer left=$# before waited=$poll
  local -A missed=()
  while ((left > 0)); do
    if ((waited++ >= poll)) && ask_slurm; then
      waited=0
      describe_queue
      for job in "$@"; do
        if [[ -e $work/$job.status || $'\n'$answer == *$'\n'"$job "* ]]; then
          missed[$job]=0
        elif ((++missed[$job] > 2)); then # a status needs time on its way over a shared disk, up to a minute
          if ! status_of "$job" >"$work/$job.gone"; then
            if ((missed[$job] * poll < 90)); then continue; fi
            echo "137 gone from Slurm without a word" >"$work/$job.gone"
          fi
          mv "$work/$job.gone" "$work/$job.status"
        fi
      done
    fi
    before=$left
    left=0
    for job in "$@"; do
      if [[ ! -e $work/$job.status ]]; then left=$((left + 1)); fi
    done
    if ((left != before && nj > 1)); then say_done; fi
    if ((left > 0)); then sleep 1; fi
  done
}

# stop_slurm STATUS: cancel the array, a training after it has saved; but leave it when only the terminal was lost.
stop_slurm() {
  local id seconds answer
  if [[ ! -s $work/slurm_job ]]; then return 0; fi
  id=$(<"$work/slurm_job")
  if (($1 == 129)); then return 0; fi
  if [[ $kind == train ]]; then
    echo "   waiting for the training to save; Ctrl-C again cancels it at once" >&3
    : >"$work/1.stop"
    for ((seconds = 0; seconds < patience; seconds++)); do
      if ((is_hurried)) || [[ -e $work/1.status ]] || { ask_slurm && [[ $answer != *RUNNING* ]]; }; then break; fi
      sleep 1
    done
  fi
  scancel "$id" || true
  echo "   cancelled Slurm job $id" >&3
  rm -f "$work/slurm_job"
}
