#!/bin/sh
# Installs what a list needs and this machine lacks; says what and why first. With all of it there, needs no network.
#
#   apt.sh demo|test|fuzz|bench|yocto
set -eu
case ${1:-} in
    demo) list=demo ;;
    test) list=test ;;
    fuzz) list=fuzz ;;
    bench) list=bench ;;
    yocto) list=yocto ;;
    *)
        echo "usage: apt.sh demo|test|fuzz|bench|yocto" >&2
        exit 2
        ;;
esac

# LISTS PACKAGE WHY, one package a line.
packages() {
    cat << 'LIST'
demo,test,bench,yocto qemu-system-arm boots the ARM boards
test qemu-system-x86 boots the x86-64 board
demo,test,yocto erofs-utils mkfs.erofs writes the image
demo,test,yocto kmod depmod indexes a kernel's modules
demo,test,bench fakeroot device nodes in an image without root
demo,test,yocto rustc-web compiles bootstrap for every architecture
demo,test rust-web-src source of Rust's core library, for the same
demo,test lld links bootstrap without a cross gcc
demo,test,fuzz ca-certificates lets cargo fetch crates
demo,test,fuzz gcc compiles the C part of zstd and links imagegen
demo,test,fuzz libc6-dev for the same
fuzz g++ compiles libFuzzer
test cryptsetup-bin veritysetup writes error correction, and is the reference of the hash tree
test fsverity reference of the tests
test,yocto openssl signs images
test,yocto cpio reads the reference initramfs, and packs a Debian tree
test,bench,yocto zstd reference of the tests and of the comparison
test,bench,yocto lz4 reference of the tests
test lzop reference of the tests
test xz-utils reference of the tests, and unpacks the kernel source
test bzip2 reference of the tests
test,bench e2fsprogs file systems that a device is known by
test,yocto dosfstools for the same
test f2fs-tools for the same
test xfsprogs for the same
test btrfs-progs for the same
test,yocto mtools writes files into a vfat image
test,yocto device-tree-compiler puts an image in memory, and a FIT's kernel arguments, into the device tree
test,yocto gcc-aarch64-linux-gnu compiles the tuned kernel, and imagegen for an arm64 Debian
test libc6-dev-arm64-cross for the latter
test make for the same
test flex for the same
test bison for the same
test bc for the same
test libssl-dev for the same
test busybox-static the shell of a system that replaces images
test python3-venv labgrid runs the boards of the test lab; runs the reference of Android's images
test microcom listens to them
test u-boot-qemu the bootloader that counts tries
test,yocto u-boot-tools mkimage makes what U-Boot boots
test man-db renders the man pages
test mandoc finds what is wrong with them
test dpkg-dev names the libraries of the Debian package
test lintian finds what is wrong with that
test grub-common its menu's language is checked
test strace kills an installation between two steps
test qemu-efi-aarch64 the firmware that starts systemd-boot, GRUB and unified kernel images
test ovmf for the same on a PC
test ostree commits and deploys
test secilc compiles the SELinux policy that the labels are tried with
test binutils readelf names the libraries of what is deployed
yocto chrpath bitbake asks for it
yocto diffstat for the same
yocto gawk for the same
yocto file for the same
yocto wget for the same
yocto git for the same
yocto locales for its locale, en_US.UTF-8
yocto pseudo its fakeroot
yocto parted makes the disk
yocto gdisk for the same
yocto fdisk for the same
LIST
}

missing=
while read -r lists package why; do
    case ,$lists, in *,$list,*) ;; *) continue ;; esac
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$status" = installed ] || {
        echo "needs $package: $why"
        missing="$missing $package"
    }
done << LIST
$(packages)
LIST
if ! command -v cargo > /dev/null; then
    echo "needs cargo-web: builds imagegen"
    missing="$missing cargo-web"
fi
[ -n "$missing" ] || exit 0
root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || {
        echo "apt.sh: not root, and there is no sudo" >&2
        echo "  as root: apt-get install$missing" >&2
        exit 1
    }
    root=sudo
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing$missing"
# shellcheck disable=SC2086
{ $root apt-get -qq update && $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing; } \
    > "$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "apt.sh: the packages could not be installed" >&2
    echo "  as root: apt-get update && apt-get install$missing" >&2
    exit 1
}
