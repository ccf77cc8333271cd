#!/usr/bin/env bash
# One table of many systems. A recipe's run_table.sh sources this file and calls
#
#     run_table SETTING... -- "$@"
#
# Every row is the recipe's run.sh with a system and a seed, so rows share features, CTC encoder, compressed features and LLM,
# what is finished is not done again, and an interrupted table goes on. A row that fails is named, and the others still run.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../../utils/parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck source=../../utils/stages.sh
. "$root/utils/stages.sh"

# --- options
systems=            # rows, separated by blanks: a system of conf/ and, after colons, asr or ctc_translation (e6:asr)
seeds="1"           # seeds, separated by blanks
reference=e6        # the row that all others are compared with
list=false          # list the stages of every row and whether they are finished, and stop
dry_run=false       # print the commands of every row instead of running them
help=false          # print this help
# --- end of options

# split_arguments ARGUMENT...: ours set their variables; all others are run.sh's -> further.
split_arguments() {
  local name
  local -a own=()
  read_options "$table_script"
  further=()
  while (($#)); do
    name=${1#--}
    name=${name%%=*}
    name=${name//-/_}
    if [[ $1 == --* && $name =~ ^(system|seed|print_dirs)$ ]]; then
      wrong_usage "--$name: rows are named by --systems and --seeds"
    fi
    if [[ $1 != --* || -z ${option_kinds[$name]:-} ]]; then
      further+=("$1")
      shift
    elif [[ $1 == *=* || ${option_kinds[$name]} == switch && ${2:-} != true && ${2:-} != false ]] || (($# < 2)); then
      own+=("$1")
      shift
    else
      own+=("$1" "$2")
      shift 2
    fi
  done
  parse_options "$table_script" "${own[@]}"
}

# row_options ROW SEED: what run.sh needs for it -> options.
row_options() {
  local variant
  local -a parts
  IFS=: read -ra parts <<<"$1"
  options=(--system "${parts[0]}" --seed "$2")
  for variant in "${parts[@]:1}"; do
    case $variant in
      asr) options+=(--task asr) ;;
      ctc_translation) options+=(--ctc_target translation) ;;
      *) wrong_usage "--systems: '$1' has the variant '$variant'; there are asr and ctc_translation" ;;
    esac
  done
}

# find_rows: the directories of every row, from run.sh itself -> row_names, row_seeds, row_dirs.
find_rows() {
  local row seed dirs
  local -a options
  row_names=()
  row_seeds=()
  row_dirs=()
  for seed in $seeds; do
    if [[ ! $seed =~ ^[0-9]+$ ]]; then wrong_usage "--seeds are whole numbers, not '$seed'"; fi
    for row in $systems; do
      row_options "$row" "$seed"
      if ! dirs=$("$recipe/run.sh" --stop_stage 12 "${further[@]}" "${options[@]}" --print_dirs true); then exit 2; fi
      row_names+=("$row")
      row_seeds+=("$seed")
      row_dirs+=("$dirs")
    done
  done
}

# dir_of NAME DIRS: one of the directories -> value.
dir_of() {
  local line
  value=""
  while IFS= read -r line; do
    if [[ $line == "$1 "* ]]; then value=${line#* }; fi
  done <<<"$2"
}

# failed_stage LOG: the stage that a failed run names -> value.
failed_stage() {
  value=$(sed -n 's/^## \(stage [0-9]* [a-z]*\) failed with status.*/\1/p' "$1" | tail -n 1)
}

# run_row INDEX: all of a row; a failure is noted beside its directories -> failures.
run_row() {
  local row=${row_names[$1]} seed=${row_seeds[$1]} place status=0 value
  local -a options
  row_options "$row" "$seed"
  place=$table_dir/$row.seed$seed
  printf '%s\n' "${row_dirs[$1]}" >"$place.dirs.part"
  cmp -s "$place.dirs.part" "$place.dirs" || cp "$place.dirs.part" "$place.dirs" # an older one vouches for the table
  rm -f "$place.dirs.part"
  dir_of system_dir "${row_dirs[$1]}"
  printf '## row %d of %d: %s, seed %s (%s); log: %s\n' "$(($1 + 1))" "${#row_names[@]}" "$row" "$seed" "$value" "$place.log"
  attend "$recipe/run.sh" --stop_stage 12 "${further[@]}" "${options[@]}" >"$place.log" 2>&1 || status=$?
  if ((status == 0)); then
    rm -f "$place.failed"
    return 0
  elif ((status == 129 || status == 130 || status == 143)); then
    exit "$status" # interrupted: the same command goes on
  fi
  failed_stage "$place.log"
  value="${value:-before its first stage}, status $status"
  printf '%s\n' "$value" >"$place.failed"
  failures+=("$row, seed $seed: $value; log: $place.log")
  tail -n 8 "$place.log" >&2
}

# table_inputs: what the table is made of, as far as it is there -> inputs, made.
table_inputs() {
  local index name value file place
  inputs=()
  made=""
  for index in "${!row_names[@]}"; do
    place=$table_dir/${row_names[$index]}.seed${row_seeds[$index]}
    inputs+=("$place.dirs")
    if [[ -f $place.failed ]]; then made+=" ${row_names[$index]}.${row_seeds[$index]}: $(<"$place.failed")"; fi
    dir_of decode_dir "${row_dirs[$index]}"
    for file in "$value"/{score.json,text}; do if [[ -f $file ]]; then inputs+=("$file"); fi; done
    for name in system_dir base_dir init_dir ctc_dir llm_dir; do
      dir_of "$name" "${row_dirs[$index]}"
      for file in "$value"/{training,average}.json; do if [[ -n $value && -f $file ]]; then inputs+=("$file"); fi; done
    done
  done
}

stage_table() {
  attend python3 -m speechllama.bin.write_table --exp_dir "$expdir" --rows "$systems" \
    --seeds "$seeds" --reference "$reference" --title "${PWD##*/}"
}

# prepare_run: the environment.
prepare_run() { . "$root/egs/TEMPLATE/path.sh"; }

# check_table: names in lower case, each once, the reference among them.
check_table() {
  local row kept=""
  systems=${systems,,}
  reference=${reference,,}
  for row in $systems; do
    if [[ " $kept " != *" $row "* ]]; then kept+="${kept:+ }$row"; fi
  done
  systems=$kept
  if [[ -z $systems ]]; then wrong_usage "--systems is empty"; fi
  if [[ -z ${seeds// /} ]]; then wrong_usage "--seeds is empty"; fi
  if [[ " $systems " != *" $reference "* ]]; then wrong_usage "--reference '$reference' is none of the rows $systems"; fi
}

# each_row OPTION: run.sh's own answer to --list or --dry_run for every row.
each_row() {
  local index status=0
  local -a options
  for index in "${!row_names[@]}"; do
    row_options "${row_names[$index]}" "${row_seeds[$index]}"
    printf '# %s, seed %s\n' "${row_names[$index]}" "${row_seeds[$index]}"
    "$recipe/run.sh" --stop_stage 12 "${further[@]}" "${options[@]}" "$1" true || status=1
  done
  exit "$status"
}

# run_table SETTING... -- ARGUMENT...: the table of the recipe whose script calls this.
run_table() {
  local -a settings=() inputs
  local index value made
  table_script=${BASH_SOURCE[0]}
  while [[ $1 != -- ]]; do
    settings+=("$1")
    shift
  done
  shift
  recipe=$(cd "$(dirname "$0")" && pwd)
  resume_command=("$0" "$@")
  split_arguments "${settings[@]}" "$@"
  if $help; then
    print_header "$0"
    print_options "$table_script"
    printf '\nAll other options are those of run.sh (run.sh --help).\n'
    exit 0
  fi
  check_table
  find_rows
  if $list; then each_row --list; fi
  if $dry_run; then each_row --dry_run; fi
  dir_of expdir "${row_dirs[0]}"
  expdir=$value
  table_dir=$expdir/table
  if [[ $expdir != /* ]]; then table_dir=$recipe/$table_dir; fi # paths among the options count from here, not from there
  mkdir -p "$table_dir"
  trap report_failure EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  failures=()
  for index in "${!row_names[@]}"; do run_row "$index"; done
  cd "$recipe" || exit 1
  table_dir=${table_dir#"$PWD"/}
  table_inputs
  stage=1
  stop_stage=1
  add_stage 1 table "$table_dir/.table.done" "the table ($expdir/RESULTS.md, $table_dir)" \
    "systems=$systems seeds=$seeds reference=$reference failed=$made" "${inputs[@]}" \
    -- "$table_dir"/{table.json,scores.svg} "$expdir/CLAIMS.md"
  run_stages
  if ((${#failures[@]})); then
    printf '%d of %d rows failed:\n' "${#failures[@]}" "${#row_names[@]}" >&2
    printf '   %s\n' "${failures[@]}" >&2
    exit 1
  fi
}
