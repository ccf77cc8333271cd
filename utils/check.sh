#!/usr/bin/env bash
# Every check of the project: ruff, the tree, mypy, shellcheck and pytest.
#
#     utils/check.sh                     # everything
#     utils/check.sh -k compressor -x    # arguments go to pytest
#     utils/check.sh --all_pythons       # also the unit tests on Python 3.12, with the other ESPnet line, at the same time
#
# tools/install.sh makes the environment on first use. All checkers run even if one fails; the exit status says whether
# all passed. pytest comes last, with its own summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=parse_options.sh
. utils/parse_options.sh

all_pythons=false
pytest_arguments=()
num_failed=0
skipped=""
bin312=""

# check NAME COMMAND...: run a checker, print its verdict, count its failure.
check() {
  local name=$1 status=0
  shift
  printf '== %s\n' "$name"
  "$@" || status=$?
  if ((status != 0)); then
    printf '== %s FAILED (status %d)\n' "$name" "$status"
    num_failed=$((num_failed + 1))
  else
    printf '== %s ok\n' "$name"
  fi
}

# shell_scripts: every *.sh and every file that begins as a bash script, outside environments and recipes' outputs.
shell_scripts() {
  find . \( -path ./.git -o -path './tools/venv*' -o -path './egs/*/data*' -o -path './egs/*/dump*' -o -path './egs/*/exp*' \
    -o -path './egs/*/downloads' -o -name '.*_cache' -o -name __pycache__ \
    -o -type d -exec test -e '{}/pyvenv.cfg' \; \) -prune -o -type f -size -200k -print0 |
    while IFS= read -r -d '' file; do
      if [[ $file == *.sh ]] || [[ $(head -c 64 "$file" | head -n 1 | tr -d '\0') =~ ^"#!".*(bash|/sh) ]]; then
        printf '%s\0' "$file"
      fi
    done
}

# find_python312: a Python 3.12 that starts -> python312.
find_python312() {
  local candidate
  python312=""
  for candidate in python3.12 "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.12*/bin/python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 12))' >/dev/null 2>&1; then
      python312=$candidate
      return 0
    fi
  done
}

# prepare_python312: an environment of Python 3.12, where there is one -> bin312, or why there is none -> skipped.
prepare_python312() {
  if [[ $(python3 -V) == "Python 3.12."* ]]; then
    skipped="== pytest on Python 3.12: is the Python of all checks here"
    return 0
  fi
  find_python312
  if [[ -z $python312 ]]; then
    skipped="== pytest on Python 3.12: SKIPPED, no Python 3.12 was found on the PATH or among pyenv's versions"
    return 0
  fi
  bin312=$(tools/install.sh --venv tools/venv-3.12 --python "$python312" --print_bin)
}

# test_both: all tests in the background, and the unit tests on Python 3.12; each has one thread.
test_both() {
  main_log=$(mktemp)
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  set -m # with a process group of its own: otherwise all of its processes would ignore Ctrl-C, which tests send
  python3 -m pytest "${pytest_arguments[@]}" >"$main_log" 2>&1 </dev/null &
  main_pid=$!
  set +m
  trap 'kill -- "-$main_pid" 2>/dev/null || true; rm -f "$main_log"' EXIT
  check "pytest on Python 3.12" env PATH="$bin312:$PATH" "$bin312/python" -m pytest -m "not recipe" "${pytest_arguments[@]}"
}

while (($#)); do
  case $1 in
    --help)
      print_header "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --all_pythons) all_pythons=true ;;
    --)
      shift
      pytest_arguments+=("$@")
      break
      ;;
    *) pytest_arguments+=("$1") ;;
  esac
  shift
done

bin=$(tools/install.sh --extra test --print_bin)
export PATH=$bin:$PATH
check ruff python3 -m ruff check .
check "ruff format" python3 -m ruff format --check .
check "docs/tree.md" python3 tools/write_tree.py --check
check mypy python3 -m mypy
mapfile -d "" scripts < <(shell_scripts)
check shellcheck shellcheck "${scripts[@]}"
if $all_pythons; then prepare_python312; fi
if [[ -n $bin312 ]]; then test_both; fi
if [[ -n $skipped ]]; then echo "$skipped"; fi
if ((num_failed)); then echo "== $num_failed checks FAILED before pytest; see above"; fi
status=0
echo "== pytest"
if [[ -n $bin312 ]]; then
  tail -n +1 -f --pid="$main_pid" "$main_log"
  wait "$main_pid" || status=$?
else
  python3 -m pytest "${pytest_arguments[@]}" || status=$?
fi
exit $((status != 0 ? status : num_failed > 0))
