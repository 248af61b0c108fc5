#!/usr/bin/env bash
# Sets up .venv from the lock files, once, then hands over to the command line tool. `./run.sh --help` tells the rest.
set -euo pipefail
unset CDPATH
# Where it is set (many containers do), each of Ray's dozens of processes compiles anew all that it imports.
unset PYTHONDONTWRITEBYTECODE
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

readonly PYTHON_VERSION=3.12
readonly TRAIN_SIZE="about 3 GB to download, 5.3 GB on disk"
readonly TRAIN_NEEDS_GB=8

usage() {
  cat <<TEXT
./run.sh [--train] [--dev] [WORDS…]    set up what is missing, then run: geti-action WORDS…  (serve, if there are none)
./run.sh [--train] [--dev] --setup     set up, and run nothing
./run.sh lock [--upgrade]              make the requirements*.lock files again from pyproject.toml

--train   also what training needs: torch, lerobot, physicalai-train ($TRAIN_SIZE)
--dev     also what the tests need
WORDS are serve, demo, record, seed, init-db, rebuild, check-log, backup, restore, export-log, import-log, adopt, openapi;
./run.sh WORD --help tells what each does.
Settings come from the environment and from .env (see .env.example).
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() {
  say "run.sh: $*"
  exit 1
}

lock_of() { if [ "$1" = base ]; then echo requirements.lock; else echo "requirements-$1.lock"; fi; }

# ---- uv -------------------------------------------------------------------------------------------------------------

# Asks each for its version: a pyenv shim may be on the PATH with nothing behind it.
find_uv() {
  local candidate
  for candidate in uv "${HOME:-/nonexistent}/.local/bin/uv" "${HOME:-/nonexistent}/.cargo/bin/uv" .uv/bin/uv; do
    if "$candidate" --version >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# Into a folder of our own: a distribution's Python refuses installs of its own user, and may lack the venv module.
install_uv() {
  local python
  for python in python3 /usr/bin/python3 "python$PYTHON_VERSION"; do
    if "$python" -m pip --version >/dev/null 2>&1; then
      say "Installing uv into .uv …"
      "$python" -m pip install --disable-pip-version-check --root-user-action=ignore --quiet --upgrade --target .uv uv >&2
      return
    fi
  done
  die "neither uv nor pip is here. Install one of them (Debian, Ubuntu: sudo apt install python3-pip) and run this again."
}

# uv keeps its cache and its Pythons at home; where that is missing or read-only they go into .uv.
keep_uv_writable() {
  local home
  for home in "$("$uv" cache dir 2>/dev/null || true)" "$("$uv" python dir 2>/dev/null || true)"; do
    if [ -z "$home" ] || ! mkdir -p -- "$home" 2>/dev/null || [ ! -w "$home" ]; then
      export UV_CACHE_DIR="$PWD/.uv/cache" UV_PYTHON_INSTALL_DIR="$PWD/.uv/python"
    fi
  done
}

prepare_uv() {
  uv=$(find_uv) || {
    install_uv
    uv=.uv/bin/uv
  }
  keep_uv_writable
}

# ---- .venv ----------------------------------------------------------------------------------------------------------

# What a set of packages was installed from; other words in its stamp, and it is installed again.
fingerprint() { { pwd && cat -- pyproject.toml requirements.lock "$(lock_of "$1")"; } | sha256sum | cut -d ' ' -f 1; }

is_installed() { compgen -G ".venv/lib/python$PYTHON_VERSION/site-packages/$1-*" >/dev/null; }

# The mark of an install that is going on, or was cut off. actors/learning/install.py, which installs training's set while
# the server runs, knows it by the same name, and takes the lock of setup().
unfinished() { echo ".venv/.unfinished-$1"; }

is_wanted() { [[ " ${wanted[*]} " == *" $1 "* ]]; }

# A package added or taken away behind our back (pip, uv sync) makes site-packages newer than the stamp.
is_current() {
  local stamp=.venv/.setup-$1
  [ -f "$stamp" ] && [ ! -e "$(unfinished "$1")" ] && [ "$(<"$stamp")" = "$(fingerprint "$1")" ] &&
    [ ! ".venv/lib/python$PYTHON_VERSION/site-packages" -nt "$stamp" ] && [ -x .venv/bin/geti-action ]
}

all_current() {
  local name
  for name in "${wanted[@]}"; do is_current "$name" || return 1; done
}

# Scripts in .venv/bin carry the folder's path: one that was moved or copied is made new. So is one without pyvenv.cfg:
# whoever made or removed it was cut off, and its python is the machine's.
is_usable() {
  [ -f .venv/pyvenv.cfg ] && [ "$(cat .venv/.setup-root 2>/dev/null || pwd)" = "$PWD" ] &&
    .venv/bin/python -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$PYTHON_VERSION')" 2>/dev/null
}

make_venv() {
  if is_usable; then return; fi
  say "Making .venv with Python $PYTHON_VERSION …"
  rm -rf -- .venv/pyvenv.cfg .venv
  "$uv" venv --quiet --python "$PYTHON_VERSION" .venv >&2 ||
    die "Python $PYTHON_VERSION is not here and could not be fetched. Install it (Ubuntu 24.04:" \
      "sudo apt install python$PYTHON_VERSION; elsewhere: pyenv install $PYTHON_VERSION) and run this again."
  pwd >.venv/.setup-root
}

tell_training_size() {
  local free_gb
  free_gb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  say "Installing what training needs: $TRAIN_SIZE …"
  [ "$free_gb" -ge "$TRAIN_NEEDS_GB" ] ||
    die "training needs $TRAIN_NEEDS_GB GB while it is installed, and $free_gb GB are free here. Make room and run this again."
}

# What was cut off may lack files, and uv counts it as installed by its dist-info folder: without that it is linked again.
forget() {
  local name
  for name in geti-action-backend $(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$(lock_of "$1")"); do
    find ".venv/lib/python$PYTHON_VERSION/site-packages" -maxdepth 1 -iname "${name//-/[-_.]}-[0-9]*.dist-info" \
      -exec rm -r -- {} +
  done
}

mend_cut_off() {
  local name
  for name in "${wanted[@]}"; do
    [ -e "$(unfinished "$name")" ] || continue
    say "An earlier installation of $(lock_of "$name") was cut off: all of it is put there again …"
    forget "$name"
  done
}

# No --require-hashes for the project itself; its dependencies are all in the locks (hence --no-deps).
install_wanted() {
  local name files=()
  for name in "${wanted[@]}"; do
    files+=(-r "$(lock_of "$name")")
    is_current "$name" || touch "$(unfinished "$name")"
  done
  "$uv" pip install --python .venv/bin/python --no-deps --require-hashes "${files[@]}" >&2
  "$uv" pip install --python .venv/bin/python --no-deps --quiet --editable . >&2
}

# The cache folder is made before the stamps, for the first import would make it and site-packages newer than they are.
write_stamps() {
  local name
  mkdir -p ".venv/lib/python$PYTHON_VERSION/site-packages/__pycache__"
  for name in "${wanted[@]}"; do
    fingerprint "$name" >".venv/.setup-$name"
    rm -f -- "$(unfinished "$name")"
  done
}

# One at a time: a second run waits, then finds everything done.
setup() (
  mkdir -p .uv
  echo '*' >.uv/.gitignore
  exec 9>.uv/lock
  flock --nonblock 9 || {
    say "Somebody else is setting up this folder (another run.sh, or a job of the server): waiting …"
    flock 9
  }
  if all_current; then return; fi
  prepare_uv
  make_venv
  if is_wanted train && ! is_installed physicalai_train; then tell_training_size; fi
  mend_cut_off
  say "Installing the pinned packages …"
  install_wanted
  write_stamps
)

# ---- lock files -----------------------------------------------------------------------------------------------------

compile() {
  "$uv" pip compile pyproject.toml --quiet --universal --python-version "$PYTHON_VERSION" --generate-hashes \
    --no-emit-index-url --no-annotate --no-header "$@"
}

# The pins of standard input that the file $1 has not got.
beyond() { awk 'NR == FNR { seen[$0]; next } /^[^ ]/ { new = !($0 in seen) } new' "$1" -; }

write_lock() {
  echo "# $2 Made by ./run.sh lock from pyproject.toml; install with --no-deps --require-hashes."
  cat -- "$1"
}

# One resolution of everything, cut in three. Pins stay as they are unless --upgrade says otherwise.
lock() {
  local work
  prepare_uv
  work=$(mktemp -d)
  cat -- requirements*.lock >"$work/all" 2>/dev/null || true
  compile --all-extras --group dev --output-file "$work/all" "$@" >/dev/null
  compile --constraints "$work/all" >"$work/base"
  compile --constraints "$work/all" --extra train | beyond "$work/base" >"$work/train"
  compile --constraints "$work/all" --group dev | beyond "$work/base" >"$work/dev"
  write_lock "$work/base" "What serving needs." >requirements.lock
  write_lock "$work/train" "What training needs on top of requirements.lock." >requirements-train.lock
  write_lock "$work/dev" "What the tests need on top of requirements.lock." >requirements-dev.lock
  rm -r -- "$work"
}

# ---- words ----------------------------------------------------------------------------------------------------------

# What is there already (by whomever) stays wanted: a plain run must not leave it behind at older pins.
wanted=(base)
if is_installed physicalai_train; then wanted+=(train); fi
if is_installed pytest; then wanted+=(dev); fi

setup_only=false
while [ $# -gt 0 ]; do
  case $1 in
    --train | --dev) is_wanted "${1#--}" || wanted+=("${1#--}") ;;
    --setup) setup_only=true ;;
    -h | --help)
      usage
      exit
      ;;
    lock)
      shift
      lock "$@"
      exit
      ;;
    *) break ;;
  esac
  shift
done

all_current || setup
if $setup_only; then exit; fi
if [ $# -eq 0 ]; then set -- serve; fi
export PATH="$PATH:$PWD/.uv/bin" # the server installs the train extra on first need
exec .venv/bin/geti-action "$@"
