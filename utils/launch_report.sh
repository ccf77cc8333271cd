#!/usr/bin/env bash
# What utils/launch.sh says while jobs run and when they have failed. Sourced by it.
: "${work:=}" "${nj:=1}" "${every:=20}" "${lines:=15}"
declare -a logs

# latest_news LOG: for a training the current epoch, the time left and the last losses; otherwise the last line.
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

# show_progress: until it is ended, show the latest news of the first running job, and what waits in a queue and why.
show_progress() {
  local job
  while sleep "$every" && kill -0 $$ 2>/dev/null; do # as long as the launcher itself is there
    if [[ -s $work/queue ]]; then sed 's/^/   /' "$work/queue" >&2; fi
    for ((job = 1; job <= nj; job++)); do
      if [[ ! -e $work/$job.status && -e ${logs[job]} ]]; then
        printf '   %s\n' "$(latest_news "${logs[job]}")" >&2
        break
      fi
    done
  done
}

# say_done: the number of ended jobs.
say_done() {
  local job ended=0
  for ((job = 1; job <= nj; job++)); do
    if [[ -e $work/$job.status ]]; then ended=$((ended + 1)); fi
  done
  printf '   %d/%d jobs done\n' "$ended" "$nj" >&2
}

# last_lines JOB: the last lines of the latest run in its log; if it never started, what its launcher printed.
last_lines() {
  local text=""
  if [[ -e ${logs[$1]} ]]; then
    text=$(awk '/^# started /{text = ""; next} /^# (ended|back) /{next} {text = text $0 "\n"} END{printf "%s", text}' "${logs[$1]}")
  fi
  if [[ -z $text && -e $work/$1.out ]]; then text=$(<"$work/$1.out"); fi
  printf '%s\n' "$text" | tail -n "$lines"
}

# report_failures: what failed, where, and why; returns the first failing job's status.
report_failures() {
  local job status note first=0 first_status=1 first_note=""
  local -a failed=()
  for ((job = 1; job <= nj; job++)); do
    read -r status note <"$work/$job.status"
    if ((status == 0)); then continue; fi
    failed+=("${logs[job]}")
    if ((first == 0)); then
      first=$job
      first_status=$status
      first_note=$note
    fi
  done
  if ((first == 0)); then return 0; fi
  {
    printf '%d of %d jobs failed; the last lines of job %d (status %d, %s):\n' "${#failed[@]}" "$nj" "$first" \
      "$first_status" "$first_note"
    last_lines "$first" | sed 's/^/   | /'
    printf 'failing log: %s\n' "${failed[@]}"
  } >&2
  return "$first_status"
}
