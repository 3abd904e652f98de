#!/bin/sh
# Set up everything a developer, the demo and CI need. Safe to run again.
#   .venv         Python packages, each checked against a hash of requirements.lock
#   node_modules  the viewer's ready-made bundle, checked against package-lock.json
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "Acinus needs Python 3.11 or 3.12; $python is another. Set PYTHON to the right one." >&2
    exit 2
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
# Most modules are never imported: those that are get compiled then, which saves a third of the set-up.
pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps "$@"; }
bundle() { "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error; }

if command -v npm >/dev/null; then
    echo "setup: viewer bundle" >&2
    bundle npm &
    npm=$!
fi

echo "setup: Python packages" >&2
# The pip that comes with Python 3.11 takes twice as long.
pip --require-hashes -r requirements-pip.lock
# torch is unpacked and compiled beside all the others: one core for each.
# A CPU build of torch is a tenth of the size. Where pip finds none (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), the default build follows.
if pip --require-hashes -r requirements-cpu.lock 2>/dev/null; then
    .venv/bin/python -m compileall -q -x /testing/ .venv/lib/python3*/site-packages/torch
else
    echo "setup: no CPU build of torch at hand, taking the default build" >&2
fi &
torch=$!
sed '/^torch==/,/[^\\]$/d' requirements.lock >.venv/beside-torch.lock
pip --require-hashes -r .venv/beside-torch.lock
wait "$torch"
.venv/bin/python -c 'import torch' 2>/dev/null || pip --require-hashes -r requirements.lock
# The default build of torch finds its CUDA libraries only where they are installed beside it.
.venv/bin/python -c 'import torch' 2>/dev/null || pip --require-hashes -r requirements-cuda.lock
pip --no-build-isolation -e .

if [ -n "${npm:-}" ]; then
    wait "$npm"
else
    echo "setup: viewer bundle" >&2
    pip --require-hashes -r requirements-node.lock
    bundle .venv/bin/npm
fi
touch .venv/ready
