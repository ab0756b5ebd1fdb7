#!/bin/sh
# Builds imagegen for an arm64 Debian on a machine of another architecture, and prints its path.
#
# Debian's cross compiler compiles the C part and links; Rust's library is compiled from rust-web-src, so that no other release of the
# compiler has to match.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
target=aarch64-unknown-linux-gnu
command -v aarch64-linux-gnu-gcc > /dev/null && [ -e /usr/aarch64-linux-gnu/include/stdio.h ] &&
    [ -d /usr/lib/rustlib/src/rust/library/std ] || {
    echo "imagegen.sh: no cross compiler, or no source of Rust's library" >&2
    echo "  run tests/setup/apt.sh test" >&2
    exit 1
}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/target}/cross" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
cd "$here"
cargo build --quiet --release --locked --package imagegen --bin imagegen --target "$target" -Zbuild-std=std,panic_unwind >&2
echo "$CARGO_TARGET_DIR/$target/release/imagegen"
