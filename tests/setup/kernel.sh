#!/bin/sh
# Builds the tuned board kernel: Debian's linux-source, tinyconfig plus qemu-arm64-kernel.config; prints its Image.
#
# A board vendor's kernel has its drivers built in; Debian's has them as modules. The figures of this project are taken
# on both. The build is cached under the digest of the fragment, so an unchanged fragment never compiles twice. Beside it lie
# key.pem and certificate.pem, made for this one kernel, which trusts what they sign.
set -eu
setup=$(cd "$(dirname "$0")" && pwd)
here=$(cd "$setup/../.." && pwd)
cache=${INITOVERLAYFS_CACHE:-$here/.cache}
fragment=$setup/qemu-arm64-kernel.config
image=$cache/kernel/tuned-$(sha256sum "$fragment" | cut -c1-12)/Image
if [ ! -e "$image" ]; then
    source=$("$setup/debian.sh" trixie arm64 linux-source-6.12)/usr/src/linux-source-6.12.tar.xz
    tree=$cache/kernel/build
    rm -rf "$tree" && mkdir -p "$tree" "$(dirname "$image")"
    echo "building the tuned kernel (about 7 minutes on two cores, once)" >&2
    tar -C "$tree" --strip-components=1 -xf "$source"
    log=$cache/kernel/build.log
    build() { make -C "$tree" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- KBUILD_BUILD_TIMESTAMP=1970-01-01 \
        KBUILD_BUILD_USER=initoverlayfs KBUILD_BUILD_HOST=initoverlayfs "$@"; }
    keys=$(dirname "$image")
    openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 36500 -subj "/CN=initoverlayfs tests" \
        -keyout "$keys/key.pem" -out "$keys/certificate.pem" > "$log" 2>&1 || {
        tail -n 5 "$log" >&2
        echo "kernel.sh: openssl made no key" >&2
        echo "  run tests/setup/apt.sh test" >&2
        exit 1
    }
    echo "CONFIG_SYSTEM_TRUSTED_KEYS=\"$keys/certificate.pem\"" > "$tree/keys.config"
    { build tinyconfig && "$tree/scripts/kconfig/merge_config.sh" -m -O "$tree" "$tree/.config" "$fragment" \
        "$tree/keys.config" &&
        build olddefconfig && build -j"$(nproc)" Image; } > "$log" 2>&1 || {
        tail -n 30 "$log" >&2
        echo "kernel.sh: the kernel did not build; whole log: $log" >&2
        exit 1
    }
    cp "$tree/.config" "$(dirname "$image")/config"
    mv "$tree/arch/arm64/boot/Image" "$image"
    rm -rf "$tree"
fi
echo "$image"
