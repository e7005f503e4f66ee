#!/bin/sh
# Unpack Debian packages into .tools/ when what they bring is not installed: unpack_tools.sh PACKAGE...
# (a program has its package's name; libNAME2 brings libNAME.so.2; postgresql-N a server). Needs no root: apt keeps its lists in a folder of ours.
set -eu
cd "$(dirname "$0")/.."

installed() {
    case $1 in
    lib*[0-9])
        library="${1%%[0-9]*}.so.${1##*[!0-9]}"
        PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -qF "$library" ||
            { [ -d .tools ] && [ -n "$(find .tools -name "$library")" ]; }
        ;;
    postgresql-*) [ -x "/usr/lib/postgresql/${1#*-}/bin/postgres" ] || [ -x ".tools/usr/lib/postgresql/${1#*-}/bin/postgres" ] ;;
    *) command -v "$1" >/dev/null || [ -x ".tools/usr/bin/$1" ] ;;
    esac
}

missing=""
for package in "$@"; do
    installed "$package" || missing="$missing $package"
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
