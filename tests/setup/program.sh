#!/bin/sh
# Builds bootstrap, run-init, the tests' guest or their saboteur for one architecture: static, no libc; prints the program's path.
#
#   program.sh bootstrap|bootstrap-full|bootstrap-planted|run-init|guest|saboteur aarch64|armv7|x86_64
#
# With Debian's rustc-web and rust-web-src no rustup server is needed: `core` is compiled from its source. Otherwise
# rustup's target is used. No cross gcc in either case: the linker is LLVM's.
set -eu
program=$1 arch=$2
case $program in
    bootstrap | run-init) build="--package bootstrap --no-default-features --features program" ;;
    bootstrap-full) build="--package bootstrap --features program" ;;
    saboteur) build="--package guest --features program" ;;
    bootstrap-planted) build="--package bootstrap --no-default-features --features program,planted" ;;
    *) build="--package $program --features program" ;;
esac
here=$(cd "$(dirname "$0")/../.." && pwd)
case $arch in
    aarch64) target=aarch64-unknown-linux-gnu ;;
    armv7) target=armv7-unknown-linux-gnueabihf ;;
    x86_64) target=x86_64-unknown-linux-gnu ;;
    *)
        echo "program.sh: unknown architecture $arch" >&2
        echo "  one of aarch64, armv7, x86_64" >&2
        exit 2
        ;;
esac
# A folder of its own: these flags would otherwise rebuild everything that the host's builds share.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}/target
export CARGO_TARGET_DIR
flags=$(awk -v arch="$arch" '$1 == "all" || $1 == arch { $1 = ""; printf "%s", $0 }' "$here/bootstrap/rustflags")
flags="$flags -Clinker-flavor=ld.lld -Clink-arg=--no-rosegment --remap-path-prefix=$here=."
if [ -d /usr/lib/rustlib/src/rust/library/core ] && command -v ld.lld > /dev/null; then
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    flags="$flags -Clinker=ld.lld"
    # Nothing reads a panic's text: the handler only restarts the board.
    flags="$flags -Zunstable-options -Cpanic=immediate-abort"
    std="-Zbuild-std=core,compiler_builtins -Zbuild-std-features=compiler-builtins-mem"
elif rustup target list --installed 2> /dev/null | grep -qx "$target"; then
    flags="$flags -Clinker=rust-lld"
    std=
else
    echo "program.sh: no Rust library for $target" >&2
    echo "  run tests/setup/apt.sh (Debian's rustc-web), or: rustup target add $target" >&2
    exit 1
fi
# What the compiler says about the flags themselves is of interest to nobody while it works.
said=$(mktemp)
trap 'rm -f "$said"' EXIT
# shellcheck disable=SC2086
(cd "$here" && RUSTFLAGS="$flags" cargo build --quiet --locked $build --bin "$program" --profile bootstrap \
    --target "$target" $std) > "$said" 2>&1 || {
    cat "$said" >&2
    echo "program.sh: $program for $arch did not build" >&2
    exit 1
}
echo "$CARGO_TARGET_DIR/$target/bootstrap/$program"
