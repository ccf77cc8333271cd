#!/usr/bin/env bash
# Options of a script: Kaldi's convention (--name value sets the variable `name`) without its eval.
#
# The options block of a script is the only place that knows its options; the help is printed from it:
#
#     # --- options
#     # a heading of the help
#     nj=2            # number of parallel jobs
#     dry_run=false   # a default of true or false makes a switch: --dry_run, --dry_run true, --dry_run=false
#     # --- end of options
#     . utils/parse_options.sh
#     parse_options "${BASH_SOURCE[0]}" "$@"
#
# Both `--name value` and `--name=value` work, and a dash in a name is an underscore. An option whose default is a whole
# number takes whole numbers only. An unknown option, a missing or a wrong value: a message on stderr and exit 2.
# Arguments that are no options, and all after `--`, are left in the array `positional`.

# read_options FILE: the names of FILE's options block -> option_names, their defaults' kinds -> option_kinds.
read_options() {
  local line inside=false default
  option_names=()
  declare -gA option_kinds=()
  while IFS= read -r line; do
    case $line in
      "# --- options") inside=true ;;
      "# --- end of options") return 0 ;;
      *)
        if $inside && [[ $line =~ ^([a-z][a-z0-9_]*)=([^[:space:]#]*) ]]; then
          default=${BASH_REMATCH[2]}
          option_names+=("${BASH_REMATCH[1]}")
          case $default in
            true | false) option_kinds[${BASH_REMATCH[1]}]=switch ;;
            "" | *[!0-9]*) option_kinds[${BASH_REMATCH[1]}]=text ;;
            *) option_kinds[${BASH_REMATCH[1]}]=number ;;
          esac
        fi
        ;;
    esac
  done <"$1"
  echo "$1: no options block ('# --- options' to '# --- end of options')" >&2
  return 1
}

# edit_distance A B: how many letters to insert, delete or replace -> distance.
edit_distance() {
  local a=$1 b=$2 i j best
  local -a above row
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    above=("${row[@]}")
    row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      best=$((above[j - 1] + 1))
      if [[ ${a:i-1:1} == "${b:j-1:1}" ]]; then best=${above[j-1]}; fi
      if ((above[j] + 1 < best)); then best=$((above[j] + 1)); fi
      if ((row[j - 1] + 1 < best)); then best=$((row[j - 1] + 1)); fi
      row[j]=$best
    done
  done
  distance=${row[${#b}]}
}

# nearest_option NAME: the known name most like NAME -> nearest.
nearest_option() {
  local name least=1000
  nearest=""
  for name in "${option_names[@]}"; do
    edit_distance "$1" "$name"
    if ((distance < least)); then
      least=$distance
      nearest=$name
    fi
  done
}

# wrong_usage MESSAGE: say what is wrong with the command line and exit with status 2.
wrong_usage() {
  printf '%s: %s (--help lists the options)\n' "${0##*/}" "$1" >&2
  exit 2
}

# set_option NAME VALUE: check the value against the kind of the option's default and set the variable -> option_faults.
set_option() {
  case ${option_kinds[$1]} in
    switch)
      if [[ $2 != true && $2 != false ]]; then option_faults+=("--$1 is true or false, not '$2'"); fi
      ;;
    number)
      if [[ $2 =~ ^[0-9]+$ ]]; then
        printf -v "$1" '%d' "$((10#$2))" # 08 is eight
      else
        option_faults+=("--$1 is a whole number, not '$2'")
      fi
      return 0
      ;;
  esac
  printf -v "$1" '%s' "$2"
}

# refuse_faults: report all of `option_faults` and exit, if there are any.
refuse_faults() {
  local fault message=""
  for fault in "${option_faults[@]}"; do message+="${message:+; }$fault"; done
  if [[ -n $message ]]; then wrong_usage "$message"; fi
}

# parse_options FILE ARGUMENT...: set the variables of FILE's options block from the arguments; all faults are reported at once.
parse_options() {
  local name
  read_options "$1"
  shift
  positional=()
  option_faults=()
  while (($#)); do
    if [[ $1 == -- ]]; then
      shift
      positional+=("$@")
      break
    elif [[ $1 != --* ]]; then
      positional+=("$1")
      shift
      continue
    fi
    name=${1#--}
    name=${name%%=*}
    name=${name//-/_}
    if [[ ! $name =~ ^[a-z][a-z0-9_]*$ || -z ${option_kinds[$name]:-} ]]; then
      nearest_option "$name"
      option_faults+=("unknown option --$name; the nearest is --$nearest")
      if [[ $1 != *=* && ${2:-} != --* ]] && (($# > 1)); then shift; fi # its value
      shift
    elif [[ $1 == *=* ]]; then
      set_option "$name" "${1#*=}"
      shift
    elif [[ ${option_kinds[$name]} == switch && ${2:-} != true && ${2:-} != false ]]; then
      set_option "$name" true
      shift
    elif (($# < 2)); then
      option_faults+=("--$name needs a value")
      shift
    else
      set_option "$name" "$2"
      shift 2
    fi
  done
  refuse_faults
}

# refuse_positional: for scripts that take options only.
refuse_positional() {
  if ((${#positional[@]})); then wrong_usage "unexpected argument '${positional[0]}'"; fi
}

# print_header FILE: the comment at the top of a script, which is its help.
print_header() {
  local line
  while IFS= read -r line; do
    case $line in
      "#!"*) ;;
      "#"*)
        line=${line#"#"}
        printf '%s\n' "${line# }"
        ;;
      *) break ;;
    esac
  done <"$1"
}

# print_options FILE: the options block as help, with the current values.
print_options() {
  local line inside=false name
  while IFS= read -r line; do
    case $line in
      "# --- options") inside=true ;;
      "# --- end of options") break ;;
      "# "*) if $inside; then printf '\n%s\n' "${line#"# "}"; fi ;;
      *)
        if $inside && [[ $line =~ ^([a-z][a-z0-9_]*)=[^#]*(#[[:space:]]*(.*))?$ ]]; then
          name=${BASH_REMATCH[1]}
          printf '  --%-16s %s [%s]\n' "$name" "${BASH_REMATCH[3]}" "${!name}"
        fi
        ;;
    esac
  done <"$1"
}
