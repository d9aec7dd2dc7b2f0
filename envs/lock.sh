#!/bin/sh
# Install what pyproject.toml asks for into a fresh environment and write down what came: make lock.
# torch's own needs (such as CUDA libraries) differ between machines, so torch is named and they are not.
set -eu
python=${1:-python3}
here=$(cd "$(dirname "$0")" && pwd)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$python" -m venv "$fresh"
pip="$fresh/bin/python -m pip --disable-pip-version-check"
frozen() { $pip freeze --all --exclude-editable | grep -Ev '^(pip|setuptools|nvidia-|triton|cuda-)' | grep -v '^scident' | sed 's/^\(torch==[0-9.]*\)+.*/\1/' | sort -f; }
$pip install --quiet torch==2.13.0 hatchling==1.27.0 editables==0.5
$pip install --quiet --no-build-isolation -e "$here/.."
{ echo "# Exact versions of everything 'make run' needs; written by make lock."; frozen; } > "$here/requirements.txt"
$pip install --quiet --no-build-isolation -e "$here/..[dev]"
{
  echo "# What 'make test' and 'make check' need besides; written by make lock."
  frozen | grep -vxF -f "$here/requirements.txt"
} > "$here/requirements-dev.txt"
