#!/bin/sh
# Builds the fuzz targets of tests/fuzz and runs them one after the other; exit status 1 if any found something.
#
#   fuzz.sh [TARGET...]     all targets if none is named
#
# FUZZ_SECONDS for each (default 60). Seeds are in tests/fuzz/corpus; what a run adds stays in tests/fuzz/target/corpus and
# is where the next run starts. No nightly compiler and no cargo-fuzz: the coverage that libFuzzer wants comes from
# LLVM's own pass, which any rustc runs. No address sanitizer either: the code under test is safe Rust.
set -eu
fuzz=$(cd "$(dirname "$0")/../fuzz" && pwd)
seconds=${FUZZ_SECONDS:-60}
command -v c++ > /dev/null || {
    echo "fuzz.sh: a C++ compiler is missing: libFuzzer is written in C++" >&2
    echo "  apt-get install g++" >&2
    exit 1
}
target=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
# Named, so that build scripts and procedural macros are left alone.
RUSTFLAGS=$flags CARGO_TARGET_DIR=$fuzz/target cargo build --quiet --release --locked --manifest-path "$fuzz/Cargo.toml" \
    --target "$target"
[ $# -gt 0 ] || set -- $(ls "$fuzz/corpus")
status=0
for name in "$@"; do
    work=$fuzz/target/corpus/$name found=$fuzz/target/found/$name-
    mkdir -p "$work" "$fuzz/target/found"
    log=$fuzz/target/found/$name.log
    if "$fuzz/target/$target/release/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
        -print_final_stats=1 -artifact_prefix="$found" "$work" "$fuzz/corpus/$name" > "$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "$name: $runs runs in $seconds s, nothing found"
    else
        status=1
        tail -n 30 "$log" >&2
        echo "$name: FOUND something; log $log" >&2
    fi
done
exit $status
