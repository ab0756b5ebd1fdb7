#!/bin/sh
# Installs labgrid into the cache folder, in a Python environment of its own, and prints the folder of its programs.
#
# The version is fixed: client, coordinator and exporter speak the same protocol only if they are of one version. With it
# in the cache no network is needed.
set -eu
version=26.0.1
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${INITOVERLAYFS_CACHE:-$here/.cache}/labgrid-$version
if [ ! -e "$folder/bin/labgrid-exporter" ]; then
    # What an interrupt has left is made anew.
    rm -rf "$folder"
    python3 -m venv "$folder" > /dev/null || {
        echo "labgrid.sh: Python cannot make an environment" >&2
        echo "  apt-get install python3-venv" >&2
        exit 1
    }
    "$folder/bin/pip" install --quiet --disable-pip-version-check "labgrid==$version" >&2 || {
        rm -rf "$folder"
        echo "labgrid.sh: labgrid $version could not be installed" >&2
        echo "  is there a network, and does pip reach its index?" >&2
        exit 1
    }
fi
echo "$folder/bin"
