#!/bin/sh
# Runs test files, as many at once as there are cores (JOBS), each in a process of its own, and sums up. Most of them
# wait for a server most of the time. What a file says is kept and printed whole when it ends.
#   side_by_side.sh NAME COMMAND FILE…     NAME: of the last line; COMMAND runs one file; FILEs: the longest first
# A file whose last line is no "N passed, N failed[, N skipped]" has crashed: one failure. Exit 1 when any failed or none passed.
name=$1 command=$2
shift 2
logs=$(mktemp -d) || exit 2
trap 'rm -rf "$logs"' EXIT
export logs command
printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc)}" -I{} sh -c '
    start=$(date +%s)
    $command {} >"$logs/{}" 2>&1
    echo $? >"$logs/{}.status"
    exec 9>>"$logs/lock"
    flock 9
    echo "== {}"
    cat "$logs/{}"
    echo "   $(($(date +%s) - start)) s"'
passed=0 failed=0 skipped=0 failed_files=
for file in "$@"; do
    last=$(tail -n 1 "$logs/$file") rc=$(cat "$logs/$file.status")
    p=$(echo "$last" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
    f=$(echo "$last" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed.*/\1/p')
    s=$(echo "$last" | sed -n 's/.* \([0-9]*\) skipped$/\1/p')
    if [ -z "$p" ] || [ -z "$f" ]; then p=0 f=1; fi # it did not reach its own summary
    [ "$rc" = 0 ] || [ "$f" -gt 0 ] || f=1
    [ "$f" = 0 ] || failed_files="$failed_files $file"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
done
echo "$name: $passed passed, $failed failed, $skipped skipped${failed_files:+ (in$failed_files)}"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
