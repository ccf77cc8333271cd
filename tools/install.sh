#!/usr/bin/env bash
# Make the environment in which everything of the project runs. Safe to repeat: it does nothing when there is nothing to do,
# and repairs an installation that was interrupted.
#
#     tools/install.sh                              # tools/venv, unless the active environment has what is needed
#     tools/install.sh --venv DIR --python python3.12
#
# An active environment (or whatever python3 is first on the PATH) that has what setup.py needs is used as it is. Otherwise
# the project is installed, editable and with its test tools, in the directory --venv. Needs Python 3.10 to 3.13 with venv.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../utils/parse_options.sh
. "$root/utils/parse_options.sh"

# --- options
venv=             # make this environment, whatever is active [tools/venv, if nothing active will do]
python=           # interpreter to make it with [the first good one on the PATH]
extra=            # the active environment must also have this extra of setup.py, such as test
print_bin=false   # print the directory of the python3 to use, on stdout
present_only=false # make nothing: leave with status 1 if there is no environment yet
help=false        # print this help
# --- end of options
parse_options "${BASH_SOURCE[0]}" "$@"
refuse_positional
if $help; then
  print_header "${BASH_SOURCE[0]}"
  print_options "${BASH_SOURCE[0]}"
  exit 0
fi

say() { printf '%s\n' "$1" >&2; }

# leave BIN: done; the python3 in this directory is the one to use.
leave() {
  if $print_bin; then printf '%s\n' "$1"; else say "environment: ${1%/bin}"; fi
  exit 0
}

# active_has_all: whether the python3 on the PATH has what is needed.
active_has_all() {
  command -v python3 >/dev/null && python3 "$root/tools/check_install.py" --quiet ${extra:+--extra "$extra"} >/dev/null 2>&1
}

# is_good_python PYTHON: whether it starts, is of a version that we support, and can make environments.
is_good_python() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

# find_python: the interpreter to make the environment with -> python.
find_python() {
  local candidate
  if [[ -n $python ]]; then
    if is_good_python "$python"; then return 0; fi
    say "$python will not do: Python 3.10 to 3.13 with the modules venv and ensurepip is needed"
    exit 1
  fi
  for candidate in python3 python3.11 python3.12 python3.10 python3.13 "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.1[0-3]*/bin/python; do
    if is_good_python "$candidate"; then
      python=$candidate
      return 0
    fi
  done
  say "no Python 3.10 to 3.13 with the modules venv and ensurepip was found on the PATH."
  say "Install one (on Debian and Ubuntu: apt install python3 python3-venv), or name one: tools/install.sh --python PATH"
  exit 1
}

# state_of VENV: what the marker of a finished installation says; changes with setup.py, the Python and the place.
state_of() {
  printf '%s %s %s\n' "$(cat "$root/setup.py" "$root/pyproject.toml" | cksum)" "$("$1/bin/python" -V 2>&1)" "$1"
}

# is_installed VENV: whether the installation was finished and is of now.
is_installed() {
  [[ -f $1/.installed && -x $1/bin/python && $(<"$1/.installed") == "$(state_of "$1")" ]]
}

# lock_venv VENV: one installation at a time; the lock ends with the last process that has it.
lock_venv() {
  mkdir -p "$(dirname "$1")"
  if ! command -v flock >/dev/null; then return 0; fi
  exec {lock}>"$(dirname "$1")/.${1##*/}.lock"
  if ! flock --nonblock "$lock"; then
    say "another installation is under way; waiting for it"
    flock "$lock"
  fi
}

# run_pip ARGUMENT...: pip with its output in a log; every ten seconds what it is doing now.
run_pip() {
  local log=$venv/install.log seconds=0 status=0
  "$venv/bin/python" -m pip --disable-pip-version-check install --progress-bar off "$@" >"$log" 2>&1 &
  pip_pid=$!
  while kill -0 "$pip_pid" 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    if ((seconds % 10 == 0)); then say "  $seconds s: $(tail -n 1 "$log" | cut -c 1-110)"; fi
  done
  wait "$pip_pid" || status=$?
  pip_pid=""
  if ((status != 0)); then
    say "pip failed with status $status; its last lines (all of it: $log):"
    tail -n 15 "$log" | sed 's/^/  | /' >&2
    say "Once the cause is fixed, run the same command again: it resumes from what is there."
    exit 1
  fi
  say "  installed in $seconds s"
}

# is_usable VENV: whether pip can use it: it works, and it is of the Python that was asked for, if any was.
is_usable() {
  "$1/bin/python" -m pip --version >/dev/null 2>&1 &&
    { [[ -z $python ]] || [[ $("$1/bin/python" -V 2>&1) == "$("$python" -V 2>&1)" ]]; }
}

# refuse_foreign VENV: making an environment clears its directory, so one that holds anything else is not touched.
refuse_foreign() {
  if [[ ! -e $1 || -f $1/pyvenv.cfg || $1 == "$root/tools/venv"* || (-d $1 && -z $(ls -A "$1")) ]]; then return 0; fi
  say "$1 is there and is no environment of Python (it has no pyvenv.cfg): name another directory with --venv"
  exit 1
}

# refuse_unloadable VENV: packages can be installed in the versions asked for and still not load together.
refuse_unloadable() {
  local report
  if report=$("$1/bin/python" "$root/tools/check_install.py" --extra test 2>&1); then return 0; fi
  say "pip was done, but not everything loads:"
  printf '%s\n' "$report" | { grep -v '^ok ' || true; } | sed 's/^/  | /' >&2
  say "Install a release of it that goes with the others ($1/bin/python -m pip install 'NAME<VERSION'), then run this again."
  exit 1
}

# make_venv: the environment with the project in it; the marker comes last.
make_venv() {
  refuse_foreign "$venv"
  lock_venv "$venv"
  if is_installed "$venv"; then return 0; fi
  if is_usable "$venv"; then
    say "bringing $venv up to date"
    rm -f "$venv/.installed"
  else
    find_python
    say "making $venv with $("$python" -V 2>&1) (once: some minutes and, with the CUDA libraries that torch brings, 5.5 GB)"
    "$python" -m venv --clear "$venv"
  fi
  trap 'if [[ -n ${pip_pid:-} ]]; then kill "$pip_pid" 2>/dev/null; fi' EXIT
  run_pip --editable "${root}[test]"
  refuse_unloadable "$venv"
  state_of "$venv" >"$venv/.installed.part"
  mv "$venv/.installed.part" "$venv/.installed"
}

if [[ -z $venv ]]; then
  if active_has_all; then leave "$(dirname "$(python3 -c 'import sys; print(sys.executable)')")"; fi
  venv=$root/tools/venv
elif [[ $venv != /* ]]; then
  venv=$PWD/$venv
fi
if ! is_installed "$venv"; then
  if $present_only; then exit 1; fi
  make_venv
fi
leave "$venv/bin"
