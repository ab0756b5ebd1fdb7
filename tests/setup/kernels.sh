#!/bin/sh
# Fetches every kernel the tests boot, runs depmod on its modules, and lists them in kernels.list in the cache folder.
#
# One line a kernel: NAME ARCHITECTURE IMAGE MODULES, separated by tabs; MODULES is `-` for the tuned kernel, which has
# its drivers built in. Also the Debian installers whose initramfs the tests boot: `installer-ARCH` and the initramfs; and
# `systemd-boot-ARCH`, the EFI program.
# With everything in the cache no network is needed.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
list=$cache/kernels.list
mkdir -p "$cache"
: > "$list.part"

# kernel NAME ARCHITECTURE FOLDER [FOLDER-OF-MODULES]
kernel() {
    binary=$3 modules=${4:-$3}
    image=$(find "$binary" -name 'vmlinuz*' -type f | head -n 1)
    tree=$(find "$modules" -path '*lib/modules/*' -maxdepth 4 -mindepth 2 -type d -name '[0-9]*' | head -n 1)
    if [ -z "$image" ] || [ -z "$tree" ]; then
        echo "kernels.sh: no kernel in $binary or no modules in $modules" >&2
        echo "  remove the folder to fetch the package again" >&2
        exit 1
    fi
    [ -e "$tree/modules.dep" ] || depmod -b "${tree%/lib/modules/*}" "${tree##*/}"
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$image" "$tree" >> "$list.part"
}

# installer ARCHITECTURE FOLDER
installer() {
    printf 'installer-%s\t%s\t%s\t-\n' "$1" "$1" "$(find "$2" -path '*/text/*' -name initrd.gz | head -n 1)" >> "$list.part"
}

# loader ARCHITECTURE FILE
loader() {
    printf 'systemd-boot-%s\t%s\t%s\t-\n' "$1" "$1" "$2" >> "$list.part"
}

fetch() { "$setup/debian.sh" "$@"; }

PATH=$PATH:/usr/sbin:/sbin
command -v depmod > /dev/null || {
    echo "kernels.sh: depmod is missing" >&2
    echo "  run tests/setup/apt.sh test" >&2
    exit 1
}
folder=$(fetch bookworm arm64 'linux-image-6\.1\.0-[0-9]+-arm64')
kernel arm64-6.1 aarch64 "$folder"
folder=$(fetch trixie arm64 'linux-image-6\.12[0-9.]*\+deb13-arm64')
kernel arm64-6.12 aarch64 "$folder"
folder=$(fetch sid arm64 'linux-binary-7\.[0-9.]+\+deb[0-9]+-arm64')
modules=$(fetch sid arm64 'linux-modules-7\.[0-9.]+\+deb[0-9]+-arm64')
base=$(fetch sid arm64 'linux-base-7\.[0-9.]+\+deb[0-9]+-arm64')
# Debian's split packages: the lists of built-in modules come apart from the modules.
for tree in "$modules"/usr/lib/modules/*; do
    [ -e "$tree/modules.builtin" ] || cp "$base/usr/lib/modules/${tree##*/}"/modules.* "$tree/"
done
kernel arm64-7 aarch64 "$folder" "$modules"
folder=$(fetch bookworm armhf 'linux-image-6\.1\.0-[0-9]+-armmp')
kernel armv7-6.1 armv7 "$folder"
folder=$(fetch bookworm amd64 'linux-image-6\.1\.0-[0-9]+-amd64')
kernel x86_64-6.1 x86_64 "$folder"
image=$("$setup/kernel.sh")
printf 'arm64-tuned\taarch64\t%s\t-\n' "$image" >> "$list.part"
folder=$(fetch bookworm arm64 debian-installer-12-netboot-arm64)
installer aarch64 "$folder"
folder=$(fetch bookworm armhf debian-installer-12-netboot-armhf)
installer armv7 "$folder"
folder=$(fetch trixie arm64 systemd-boot-efi)
loader aarch64 "$folder/usr/lib/systemd/boot/efi/systemd-bootaa64.efi"
folder=$(fetch bookworm amd64 systemd-boot-efi)
loader x86_64 "$folder/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
# What tests ask debian.sh for by themselves.
fetch bookworm arm64 grub-efi-arm64-bin > /dev/null
fetch bookworm amd64 grub-efi-amd64-bin > /dev/null
for arch in arm64 amd64; do fetch trixie $arch grub-efi-$arch-unsigned > /dev/null; done
fetch trixie arm64 mkbootimg > /dev/null
for arch in arm64 armhf amd64; do fetch bookworm $arch busybox-static > /dev/null; done
mv "$list.part" "$list"
cat "$list"
