# Sourced by tests/yocto/run.sh: a build folder of bitbake that needs nothing but this machine and the checkouts OECORE and BITBAKE.
#
# Sets `build` and leaves the shell in it, bitbake in PATH.
tests=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$tests/../.." && pwd)
work=${YOCTO_WORK:-$here/target/yocto}
PATH=$PATH:/usr/sbin:/sbin

fail() {
    echo "yocto: $1" >&2
    echo "  $2" >&2
    exit 1
}

for tool in chrpath diffstat gawk pseudo mkimage dtc mcopy parted sgdisk sfdisk aarch64-linux-gnu-ld; do
    command -v "$tool" > /dev/null || fail "$tool is missing" "run tests/setup/apt.sh yocto"
done
locale -a | grep -qix en_US.utf8 || fail "bitbake wants the locale en_US.UTF-8" "enable it in /etc/locale.gen and run locale-gen"

# What bitbake takes from PATH: Debian's compiler, whose library for the target is one of its packages, and a cargo.
mkdir -p "$work/bin" "$work/downloads"
ln -sf /usr/bin/rustc "$work/bin/rustc"
ln -sf "$(rustup which cargo 2> /dev/null || command -v cargo)" "$work/bin/cargo"
ln -sf "$(python3 -c "import sys; print(sys.executable)")" "$work/bin/nativepython3"
PATH=$work/bin:$PATH
library=$("$here/tests/setup/debian.sh" bookworm-security arm64 libstd-rust-web-dev)/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib
busybox=$("$here/tests/setup/debian.sh" bookworm arm64 busybox-static)/bin/busybox
kernel=$("$here/tests/setup/debian.sh" bookworm arm64 'linux-image-6\.1\.0-[0-9]+-arm64')
modules=$(find "$kernel/lib/modules" -mindepth 1 -maxdepth 1 -type d)
[ -e "$modules/modules.dep" ] || depmod -b "$kernel" "${modules##*/}"
[ -e "$work/keys/key.pem" ] || {
    mkdir -p "$work/keys"
    openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 36500 -subj "/CN=initoverlayfs tests" \
        -keyout "$work/keys/key.pem" -out "$work/keys/certificate.pem" 2> /dev/null
}
# The crates as bitbake would have fetched them.
cargo fetch --quiet --locked --manifest-path "$here/Cargo.toml"
for crate in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/*.crate; do
    ln -sf "$crate" "$work/downloads/"
done

# fresh NAME: an empty configuration of the build folder NAME; what was built there stays.
fresh() {
    rm -rf "$work/$1/conf"
    export BITBAKEDIR=$BITBAKE
    set +u
    # shellcheck disable=SC1091
    . "$OECORE/oe-init-build-env" "$work/$1" > /dev/null
    set -u
    # As root, oe-core's checks of the host refuse to go on; this file is found before theirs.
    [ "$(id -u)" != 0 ] || : > conf/sanity.conf
    cat > conf/local.conf << CONF
CONF_VERSION = "2"
DL_DIR = "$work/downloads"
# Shared, so that oe-selftest, which builds in a folder of its own, compiles nothing again.
SSTATE_DIR = "$work/images/sstate-cache"
OFFLINE_RUST_LIBRARY = "$library"
FIXTURE_BUSYBOX = "$busybox"
FIXTURE_KERNEL = "$(find "$kernel/boot" -name 'vmlinuz*')"
FIXTURE_MODULES = "$modules"
FIXTURE_KEYS = "$work/keys"
CONF
}

# layers PATH...
layers() {
    printf 'POKY_BBLAYERS_CONF_VERSION = "2"\nBBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' "$OECORE/meta $*" > conf/bblayers.conf
}
