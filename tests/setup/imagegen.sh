#!/bin/sh
# Builds imagegen for a Debian of another architecture than this machine's, and prints its path.
#
#   imagegen.sh arm64|amd64
#
# Debian's cross compiler compiles the C part and links; Rust's library is compiled from rust-web-src, so that no other release of the
# compiler has to match.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
case $1 in
    arm64) machine=aarch64 ;;
    amd64) machine=x86_64 ;;
    *) exit 2 ;;
esac
target=$machine-unknown-linux-gnu triplet=$machine-linux-gnu
command -v "$triplet-gcc" > /dev/null && [ -e "/usr/$triplet/include/stdio.h" ] &&
    [ -d /usr/lib/rustlib/src/rust/library/std ] || {
    echo "imagegen.sh: no cross compiler, or no source of Rust's library" >&2
    echo "  run tests/setup/apt.sh test, or apt-get install gcc-$(echo $triplet | tr _ -) libc6-dev-$1-cross" >&2
    exit 1
}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/target}/cross" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
variable=$(echo "$target" | tr - _)
export "CC_$variable=$triplet-gcc" "CARGO_TARGET_$(echo "$variable" | tr '[:lower:]' '[:upper:]')_LINKER=$triplet-gcc"
cd "$here"
cargo build --quiet --release --locked --package imagegen --bin imagegen --target "$target" -Zbuild-std=std,panic_unwind >&2
echo "$CARGO_TARGET_DIR/$target/release/imagegen"
