#!/usr/bin/env bash
# Every test a fresh clone can run, phase by phase; the logs stay in build/test-logs. Exit 1 when any failed.
#   tools/test.sh [PHASE…]      only these phases (release unit scenario clients tidy cross asan tsan fuzz; and hostile,
#                               which runs only when it is named: it takes a build of its own)
set -uo pipefail
cd "$(dirname "$0")/.."
logs=build/test-logs
mkdir -p $logs
jobs=$(nproc)
fuzz_seconds=${FUZZ_SECONDS:-30}
passed=0 failed=0 skipped=0
wanted=("$@")

# Adds what a log says: ctest's closing line, or lines "N passed, N failed[, N skipped]".
count() {
    local line
    while read -r line; do
        if [[ $line =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]; then
            failed=$((failed + BASH_REMATCH[1])) passed=$((passed + BASH_REMATCH[2] - BASH_REMATCH[1]))
        elif [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
            passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
        fi
    done <"$1"
}

# phase NAME COMMAND…: a phase fails when its command does, whatever it counted.
phase() {
    local name=$1 log=$logs/$1.log start=$SECONDS before=$failed
    shift
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return 0; fi
    printf '%-10s ' "$name"
    if "$@" >"$log" 2>&1; then
        count "$log"
        printf 'ok    %4ds\n' $((SECONDS - start))
    else
        count "$log"
        [ "$failed" = "$before" ] && failed=$((failed + 1))
        printf 'FAILED %3ds  (%s)\n' $((SECONDS - start)) "$log"
        grep -E '^(FAIL |not ok|.*\*\*\*Failed|.*\*\*\*Timeout|\[  FAILED|.*: error:|==[0-9]+==ERROR|.*runtime error|WARNING: Thread)' "$log" | head -40
        tail -30 "$log"
    fi
}

# One test of this script's own, counted like the others.
one() { "$@" && echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; return 1; }; }

release() { cmake --preset release && cmake --build --preset release; }
unit() { ctest --test-dir build --output-on-failure -j "$jobs" --no-tests=error; }
scenario() { tests/scenario/run.sh; }
clients() { tests/clients/run.sh; }
tidy() { one tools/tidy --self-test && one tools/tidy && one tools/fields.py --check && one tools/metrics.py --check; }
# The kernels for ARM: compiled for it, their unit tests run by an emulator.
cross() {
    cmake --preset cross && cmake --build --preset cross &&
        ctest --test-dir build-cross --output-on-failure -j "$jobs" --no-tests=error
}
asan() {
    cmake --preset asan && cmake --build --preset asan &&
        PLIMSOLL_PROPERTY_SECONDS=20 UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir build-asan --output-on-failure -j "$jobs" --no-tests=error
}
# Memory, scheduler and HTTP with the smallest sizes (base/hostile.h) and all checks.
hostile() {
    cmake --preset hostile && cmake --build --preset hostile &&
        ctest --test-dir build-hostile --output-on-failure -j "$jobs" --no-tests=error -L hostile
}
# Everything that has threads.
tsan() {
    cmake --preset tsan && cmake --build --preset tsan &&
        PLIMSOLL_PROPERTY_SECONDS=20 TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" \
            ctest --test-dir build-tsan --output-on-failure -j "$jobs" --no-tests=error -L threads
}
# Each target for a while under ASan and UBSan, as many at once as there are cores.
fuzz_one() {
    local target=$1 seeds=fuzz/corpus/${1#fuzz_} log=build/test-logs/$1.log
    mkdir -p "build-fuzz/corpus/$target"
    [ -d "$seeds" ] || seeds=""
    if build-fuzz/"$target" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix=build-fuzz/ "build-fuzz/corpus/$target" $seeds >"$log" 2>&1; then
        echo "$target: $(grep -oE 'number_of_executed_units: *[0-9]+' "$log")"
        echo "1 passed, 0 failed"
    else
        echo "FAIL $target"
        tail -40 "$log"
        echo "0 passed, 1 failed"
        return 1
    fi
}
export -f fuzz_one
export fuzz_seconds
fuzz() {
    cmake --preset fuzz && cmake --build --preset fuzz || return 1
    printf '%s\n' fuzz/fuzz_*.c | xargs -n1 -I{} basename {} .c | xargs -P "$jobs" -I{} bash -c 'fuzz_one {}'
}

start=$SECONDS
for p in release unit scenario clients tidy cross asan tsan fuzz; do phase $p $p; done
[ ${#wanted[@]} = 0 ] || phase hostile hostile
echo "took $((SECONDS - start))s"
[ "$skipped" = 0 ] && echo "$passed passed, $failed failed" || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
