#!/bin/sh
# Runs every client test against $PLIMSOLL (or build/plimsoll) and sums up. Arguments: names of test files, or none for all.
# The clients come from a registry once; when none can be reached, that is a failure.
cd "$(dirname "$0")" || exit 2
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --no-audit --no-fund --loglevel=error || { echo "FAIL npm ci"; echo "0 passed, 1 failed"; exit 1; }
fi
passed=0 failed=0
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
[ $# -gt 0 ] || set -- test_*.mjs
for file in "$@"; do
    echo "== $file"
    node "$file" >"$out" 2>&1
    rc=$?
    cat "$out"
    last=$(tail -n 1 "$out")
    p=$(echo "$last" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
    f=$(echo "$last" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
    if [ -z "$p" ] || [ -z "$f" ]; then p=0 f=1; fi # it did not reach its own summary
    [ "$rc" = 0 ] || [ "$f" -gt 0 ] || f=1
    passed=$((passed + p)) failed=$((failed + f))
done
echo "clients: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
