#!/bin/sh
# Lays out what `make demo` boots: Debian 12's arm64 netboot installer, unmodified, and the modules of its kernel.
#
#   demo.sh FOLDER     makes the links linux, initrd.gz and modules in FOLDER
#
# With everything in the cache no network is needed.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
folder=$1

fail() {
    echo "demo.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

PATH=$PATH:/usr/sbin:/sbin
command -v depmod > /dev/null || fail "depmod is missing" "run tests/setup/apt.sh demo"
package=$("$setup/debian.sh" bookworm arm64 debian-installer-12-netboot-arm64)
images=$(find "$package" -path '*/text/*' -name initrd.gz | head -n 1)
[ -n "$images" ] || fail "no initrd.gz in $package" "remove this folder to fetch the package again"
images=${images%/initrd.gz}
# Modules load into the very kernel they were built for, so the installer's own version is asked for by name.
version=$(grep -aom1 'Linux version [0-9][^ ]*' "$images/linux" | cut -d ' ' -f 3)
[ -n "$version" ] || fail "$images/linux does not say its version" "remove $package to fetch the package again"
package=$("$setup/debian.sh" bookworm arm64 "linux-image-$(echo "$version" | sed 's/[.+]/\\&/g')")
modules=$package/lib/modules/$version
[ -d "$modules/kernel" ] || fail "no modules of $version in $package" "remove this folder to fetch the package again"
[ -e "$modules/modules.dep" ] || depmod -b "$package" "$version"
mkdir -p "$folder"
ln -sfn "$(realpath "$images")/linux" "$folder/linux"
ln -sfn "$(realpath "$images")/initrd.gz" "$folder/initrd.gz"
ln -sfn "$(realpath "$modules")" "$folder/modules"
