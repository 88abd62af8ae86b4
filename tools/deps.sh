#!/bin/sh
# Installs the Debian packages that building and testing need, saying which. With sudo when not root.
#   tools/deps.sh          what `make build` and `make run` need
#   tools/deps.sh test     and what `make test` needs
set -eu
packages="gcc make cmake ninja-build pkg-config libmicrohttpd-dev libyajl-dev libpcre2-dev libxxhash-dev"
[ "${1:-}" = test ] && packages="$packages libcmocka-dev clang libclang-rt-14-dev llvm python3 curl gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
missing=""
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing Debian packages:$missing"
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "not root and no sudo: install them yourself:  apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# The package lists of a fresh machine may be missing or old: try once without, then refresh them.
$sudo apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1 ||
    { $sudo apt-get update -q >>"$log" 2>&1 && $sudo apt-get install -y -q --no-install-recommends $missing >>"$log" 2>&1; } ||
    { tail -20 "$log" >&2; echo "could not install:$missing" >&2; exit 1; }
rm -f "$log"
