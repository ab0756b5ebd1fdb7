#!/bin/bash
# Runs test tiers one after the other and ends with one line that counts them all.
#
#   run.sh TIER...    tiers: unit, boot, fault, power (of boot, the power cuts alone), debian, yocto
#
# A tier that fails does not keep the next from running; the exit status says whether all passed.
set -u
cd "$(dirname "$0")/../.."
passed=0 failed=0 status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for tier in "$@"; do
    case $tier in
        unit) command=(cargo test --release --locked --quiet --no-fail-fast --lib --bins --test bad_input --test distribution --test package --package bootstrap --package imagegen --package tests) ;;
        boot) command=(cargo test --release --locked --quiet --no-fail-fast --package tests --test boot --test bootloader --test collect --test doctor --test installed --test lab --test ostree --test power_cut --test profile --test service -- --test-threads 2) ;;
        power) command=(cargo test --release --locked --quiet --no-fail-fast --package tests --test power_cut) ;;
        fault) command=(cargo test --release --locked --quiet --no-fail-fast --package tests --test fault -- --test-threads 2) ;;
        debian) command=(cargo test --release --locked --quiet --no-fail-fast --package tests --test debian -- --test-threads 1) ;;
        yocto)
            command=(cargo test --release --locked --quiet --no-fail-fast --package tests --test yocto --)
            if [ -n "${OECORE:-}" ] && [ -n "${BITBAKE:-}" ]; then
                command+=(--include-ignored)
            else
                echo "yocto: bitbake itself is not run: OECORE and BITBAKE name no checkouts"
            fi
            ;;
        *)
            echo "run.sh: unknown tier $tier" >&2
            exit 2
            ;;
    esac
    echo "== $tier"
    "${command[@]}" 2>&1 | tee "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
    counts=$(sed -n 's/^test result: [a-zA-Z]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log")
    [ -n "$counts" ] || { echo "run.sh: $tier ran no test" >&2; status=1; }
    while read -r good bad; do
        passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-0}))
    done <<< "$counts"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || status=1
exit $status
