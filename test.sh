#!/usr/bin/env bash
# ./test.sh [quick|--long] [WORDS for pytest…]: lint, types and tests. `./test.sh --help` tells the rest.
set -euo pipefail
unset CDPATH
# Where it is set (many containers do), each of Ray's dozens of processes compiles anew all that it imports.
unset PYTHONDONTWRITEBYTECODE
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

usage() {
  cat <<TEXT
./test.sh          everything but the soaks (within 15 minutes on 2 cores)
./test.sh quick    lint and the fast tests, on SQLite (a minute or two; needs neither torch nor a browser)
./test.sh --long   everything, the soaks, repeated kills and big replays too
More words go to pytest: ./test.sh quick -k recording
TEXT
}

INTERRUPTED=2 # pytest's exit code for Ctrl-C

say() { printf '%s\n' "$*" >&2; }

# Runs a stage, says how long it took, and ends the run if it fails.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  say "== $name"
  "$@" || status=$?
  say "== $name: $((SECONDS - start)) s"
  [ "$status" -eq 0 ] || {
    say "test.sh: $name failed (exit $status)."
    exit "$status"
  }
}

have_chromium() {
  local name
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then return; fi
  done
  return 1
}

# The page is tested in a real browser, which no Python package brings.
need_chromium() {
  if have_chromium; then return; fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    say "The page is tested in a real browser and Chromium is not here (Debian: sudo apt install chromium)."
    return 1
  fi
  say "Installing Chromium from the system's packages …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >&2
}

mode=full
case ${1:-} in
  quick | --quick) mode=quick && shift ;;
  --long) mode=long && shift ;;
  -h | --help) usage && exit ;;
esac

case $mode in
  quick) needs=(--dev) marks="not slow and not train and not long" ;;
  full) needs=(--dev --train) marks="not long" ;;
  long) needs=(--dev --train) marks="" ;;
esac

stage "setup" ./run.sh "${needs[@]}" --setup
if [ "$mode" != quick ]; then stage "browser" need_chromium; fi
stage "format" .venv/bin/ruff format --check .
stage "lint" .venv/bin/ruff check .
stage "shell" .venv/bin/shellcheck run.sh test.sh .ci/run
stage "walls" .venv/bin/lint-imports --no-logo
stage "types" .venv/bin/mypy

pytest=(.venv/bin/python -m pytest -m "$marks")
if [ "$mode" = quick ]; then pytest+=(-k "not postgresql"); fi
among="${marks:+$marks and }"
side_by_side=(-m "${among}not alone" -n auto --maxprocesses 4 --dist worksteal)
without_server=("${pytest[@]}" "${side_by_side[@]}" tests/unit tests/integration)
alone=("${pytest[@]}" -m "${among}alone" tests/unit tests/integration)

# Tests with a server measure what people wait for, one after the other, and leave a third of two cores idle. What the
# others do in the meantime is told when those are through.
begin_beside() {
  output=$(mktemp)
  set -m # a group of its own, so that we can end all of it
  nice -n 19 "$@" >"$output" 2>&1 &
  beside=$!
  set +m
  trap leave EXIT
}

leave() {
  if kill -INT -- "-$beside" 2>/dev/null; then
    timeout 20 tail -f --pid="$beside" /dev/null || kill -TERM -- "-$beside"
  fi
  rm -f "$output"
}

end_beside() {
  tail -n +1 -f --pid="$beside" "$output"
  wait "$beside"
}

if [ $# -gt 0 ]; then
  say "== tests"
  exec "${pytest[@]}" "$@"
elif [ "$mode" = quick ]; then
  say "== tests"
  "${without_server[@]}"
  exec "${alone[@]}"
elif [ "$mode" = long ]; then
  # The big ones without a server measure too.
  stage "tests" "${without_server[@]}"
  stage "tests that measure" "${alone[@]}"
  on_postgresql=(tests/e2e/test_{bad_input,curation,durability,http,live,recording}.py)
  stage "tests with a server on PostgreSQL" \
    env TEST_DATABASE=postgresql .venv/bin/python -m pytest -m "not long" "${on_postgresql[@]}"
  stage "tests with a server" "${pytest[@]}" tests/e2e
else
  failed=0
  begin_beside "${without_server[@]}"
  say "== tests with a server, the others beside them"
  "${pytest[@]}" -v tests/e2e || failed=$? # named as they begin: some take minutes
  [ "$failed" -ne "$INTERRUPTED" ] || exit "$failed"
  say "== tests without a server"
  end_beside || failed=$?
  stage "tests that measure" "${alone[@]}"
  exit "$failed"
fi
