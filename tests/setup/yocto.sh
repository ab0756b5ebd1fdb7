#!/bin/sh
# Makes a Python environment with bitbake's own parser and the linter of recipes, in the cache folder; prints its python.
#
# With the environment there no network is needed. pip takes its index from this machine's own configuration.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
list=$setup/yocto.txt
environment=$cache/yocto-$(sha256sum "$list" | cut -c1-12)

fail() {
    echo "yocto.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

if [ ! -e "$environment/complete" ]; then
    rm -rf "$environment"
    mkdir -p "$cache"
    echo "fetching bitbake's parser and oelint-adv" >&2
    /usr/bin/python3 -m venv "$environment" >&2 || fail "cannot make a Python environment" "run tests/setup/apt.sh test (python3-venv)"
    "$environment/bin/pip" -q install --disable-pip-version-check -r "$list" >&2 ||
        fail "pip could not install $list" "is the network up? A second run needs none."
    touch "$environment/complete"
fi
echo "$environment/bin/python"
