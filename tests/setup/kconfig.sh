#!/bin/sh
# Unpacks what configures a kernel of Debian's linux-source, the one that kernel.sh builds, and prints the folder: its
# Makefile configures and its scripts/kconfig/merge_config.sh merges; nothing there compiles. Cached.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
package=$("$setup/debian.sh" trixie arm64 linux-source-6.12)
tree=$cache/kernel/kconfig-$(cat "$package/.complete" "$setup/kconfig.sh" | sha256sum | cut -c1-12)
if [ ! -e "$tree" ]; then
    rm -rf "$tree.part" && mkdir -p "$tree.part"
    log=$cache/kernel/kconfig.log
    # What it runs is compiled here, once, so that tests only read the folder.
    { tar -C "$tree.part" --strip-components=1 -xf "$package/usr/src/linux-source-6.12.tar.xz" --wildcards \
        'linux-source-6.12/Makefile' 'linux-source-6.12/scripts' '*/Kconfig*' '*/arch/arm*/Makefile' '*/arch/arm*/configs/*' &&
        make -C "$tree.part" ARCH=arm64 KCONFIG_CONFIG="$tree.part/first" defconfig; } > "$log" 2>&1 || {
        tail -n 10 "$log" >&2
        echo "kconfig.sh: no kernel can be configured; whole log: $log" >&2
        echo "  run tests/setup/apt.sh test" >&2
        exit 1
    }
    mv "$tree.part" "$tree"
fi
echo "$tree"
