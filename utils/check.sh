#!/usr/bin/env bash
# Every check of the project: ruff, the tree, mypy, shellcheck and pytest.
#
#     utils/check.sh                     # everything
#     utils/check.sh -k compressor -x    # arguments go to pytest
#     utils/check.sh --all_pythons       # also the unit tests on Python 3.12, with the other ESPnet line
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

# test_python312: the unit tests on Python 3.12, where there is one.
test_python312() {
  local bin
  if [[ $(python3 -V) == "Python 3.12."* ]]; then
    echo "== pytest on Python 3.12: is the Python of all checks here"
    return 0
  fi
  find_python312
  if [[ -z $python312 ]]; then
    skipped="== pytest on Python 3.12: SKIPPED, no Python 3.12 was found on the PATH or among pyenv's versions"
    return 0
  fi
  bin=$(tools/install.sh --venv tools/venv-3.12 --python "$python312" --print_bin)
  check "pytest on Python 3.12" env PATH="$bin:$PATH" "$bin/python" -m pytest -m "not recipe" "${pytest_arguments[@]}"
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
if $all_pythons; then test_python312; fi
if [[ -n $skipped ]]; then echo "$skipped"; fi
if ((num_failed)); then echo "== $num_failed checks FAILED before pytest; see above"; fi
status=0
echo "== pytest"
python3 -m pytest "${pytest_arguments[@]}" || status=$?
exit $((status != 0 ? status : num_failed > 0))
