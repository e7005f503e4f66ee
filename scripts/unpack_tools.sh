#!/bin/sh
# Unpack Debian packages into .tools/ when their programs are not on PATH: unpack_tools.sh PACKAGE...
# (each package's program has the package's name). Needs no root: apt keeps its lists in a folder of ours.
set -eu
cd "$(dirname "$0")/.."

missing=""
for package in "$@"; do
    if ! command -v "$package" >/dev/null && [ ! -x ".tools/usr/bin/$package" ]; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "not installed:$missing, and this is not a Debian where they could be unpacked; install them" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" .tools
apt() {
    # APT::Sandbox::User: as root, apt would let a user download who may not enter our folder
    apt-get -qq -o Dir::State="$work" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 "$@"
}
echo "unpacking into .tools:$missing"
apt update
# The names of packages are ours and hold no spaces.
# shellcheck disable=SC2086
(cd "$work" && apt download $missing)
for archive in "$work"/*.deb; do
    dpkg-deb -x "$archive" .tools
done
