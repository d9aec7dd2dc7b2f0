#!/bin/sh
# Make the virtual environment of this checkout: setup.sh PYTHON FOLDER (called by make).
# torch comes first and by its exact version, so that no other package asks for a newer and larger build.
set -eu
python=$1 folder=$2 needed_mb=${NEEDED_MB:-6000}
say() {
  echo "$1" >&2
  exit 1
}
"${python:-false}" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || say \
  "scident needs Python 3.11, 3.12 or 3.13, found $("${python:-python3}" --version 2>&1 || true); install one (apt-get install python3 python3-venv) or call make PYTHON=/path/to/python3.11"
free_mb=$(df -Pm . | awk 'NR == 2 { print $4 }')
[ "$free_mb" -ge "$needed_mb" ] || say \
  "scident needs $needed_mb MB of free disk for its packages, found $free_mb MB in $(pwd); free some space or clone elsewhere"
"$python" -m venv "$folder" || say "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
echo "installing packages into $folder (some minutes, once)"
here=$(cd "$(dirname "$0")" && pwd)
pip="$folder/bin/python -m pip install --quiet --disable-pip-version-check"
$pip torch==2.13.0
$pip -r "$here/requirements.txt" -r "$here/requirements-dev.txt"
$pip --no-deps --no-build-isolation -e "$here/.."
touch "$folder/ready"
