#!/bin/sh
# Unpack Debian packages into .tools/ when what they bring is not installed: unpack_tools.sh PACKAGE...
# (a program has its package's name; libNAME2 brings libNAME.so.2; postgresql-N a server, with the libraries that it
# needs). Needs no root: apt keeps its lists in a folder of ours.
set -eu
cd "$(dirname "$0")/.."

runs() { "$1" --version >/dev/null 2>&1; }

installed() {
    case $1 in
    lib*[0-9])
        library="${1%%[0-9]*}.so.${1##*[!0-9]}"
        PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -qF "$library" ||
            { [ -d .tools ] && [ -n "$(find .tools -name "$library")" ]; }
        ;;
    postgresql-*) runs "/usr/lib/postgresql/${1#*-}/bin/postgres" || runs ".tools/usr/lib/postgresql/${1#*-}/bin/postgres" ;;
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

# As root the server runs as another user, who may not be able to enter this checkout: then it lies where that user
# may, beside what the product itself copies for the same reason, and .tools has a link to it.
place_of_servers() {
    if [ "$(id -u)" = 0 ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$PWD"; then
        echo /var/cache/edurise-backup/unpacked
    else
        echo "$PWD/.tools"
    fi
}

# The libraries are found from the programs themselves: children of the product start with an environment of their own.
unpack_server() {
    major=${1#*-}
    place=$(place_of_servers)
    mkdir -p "$place" .tools/usr/lib/postgresql
    rm -rf ".tools/usr/lib/postgresql/$major"
    apt -y --no-install-recommends --download-only install "$1" patchelf
    for archive in "$work/cache/archives"/*.deb; do
        case ${archive##*/} in
        patchelf_*) dpkg-deb -x "$archive" "$work" ;;
        libllvm* | libz3*) ;; # the just-in-time compiler is most of the bytes, and no test wants it
        "$1"_* | postgresql-client-"$major"_* | lib*) dpkg-deb -x "$archive" "$place" ;;
        esac
    done
    own="$place/usr/lib/postgresql/$major"
    rm -rf "$own/lib/llvmjit.so" "$own/lib/bitcode"
    patch=$(command -v patchelf || echo "$work/usr/bin/patchelf")
    for program in "$own"/bin/*; do
        # shellcheck disable=SC2016  # $ORIGIN is the loader's word
        "$patch" --force-rpath --set-rpath '$ORIGIN/../../../x86_64-linux-gnu:$ORIGIN/../../../aarch64-linux-gnu' \
            "$program" 2>/dev/null || true # a script
    done
    [ "$place" = "$PWD/.tools" ] || ln -sfn "$own" ".tools/usr/lib/postgresql/$major"
    runs "$own/bin/postgres" || { echo "the unpacked server in $own does not run" >&2 && exit 1; }
}

echo "unpacking into .tools:$missing"
apt update
for package in $missing; do
    case $package in
    postgresql-*) unpack_server "$package" ;;
    *)
        (cd "$work" && apt download "$package")
        dpkg-deb -x "$work/${package}"_*.deb .tools
        ;;
    esac
done
