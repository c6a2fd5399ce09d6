#!/usr/bin/env bash
# Makes the environment of a node, in .venv beside this folder, from the project's own locks: every distribution is
# checked by its hash. Ray runs it on every node (setup_commands). Run again, it does nothing unless a lock has changed.
#
#   bash cluster/install.sh [MORE.lock]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

locks=(requirements.lock requirements-uv.lock "$@")
wanted=$(sha256sum "${locks[@]}" pyproject.toml)
if [ "$(cat .venv/.node 2>/dev/null)" = "$wanted" ]; then
  echo "sweeper is installed"
  exit 0
fi

if ! python3 -c 'import ensurepip' 2>/dev/null; then
  echo "installing the system's python3-venv"
  sudo apt-get -qq -o DPkg::Lock::Timeout=300 update
  sudo apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends python3-venv
fi
# uv stands in a lock of its own, because it has to be there before it can install the other. It brings a Python of its
# own where the system has none that fits.
[ -x .uv/bin/python ] || python3 -m venv .uv
.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
[ -x .venv/bin/python ] || .uv/bin/uv venv --quiet --python 3.11 .venv
echo "installing the locked dependencies (about 6 GB with CUDA's libraries)"
.uv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes "${locks[@]}"
.uv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
echo "$wanted" > .venv/.node
