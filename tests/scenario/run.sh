#!/bin/sh
# Runs every scenario test against $PLIMSOLL (or build/plimsoll) and sums up. Arguments: names of test files, or none for all.
cd "$(dirname "$0")" || exit 2
export PYTHONDONTWRITEBYTECODE=1
passed=0 failed=0 skipped=0 failed_files=
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
[ $# -gt 0 ] || set -- test_*.py
for file in "$@"; do
    echo "== $file"
    start=$(date +%s)
    { python3 "$file"; echo "status $?" >&3; } 3>"$out.status" | tee "$out"
    rc=$(sed -n 's/^status //p' "$out.status"); rm -f "$out.status"
    last=$(tail -n 1 "$out")
    p=$(echo "$last" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
    f=$(echo "$last" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed.*/\1/p')
    s=$(echo "$last" | sed -n 's/.* \([0-9]*\) skipped$/\1/p')
    if [ -z "$p" ] || [ -z "$f" ]; then p=0 f=1; fi # it did not reach its own summary
    [ "$rc" = 0 ] || [ "$f" -gt 0 ] || f=1
    [ "$f" = 0 ] || failed_files="$failed_files $file"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
    echo "   $(($(date +%s) - start)) s"
done
echo "scenario: $passed passed, $failed failed, $skipped skipped${failed_files:+ (in$failed_files)}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
