#!/bin/sh
# Runs every client test against $PLIMSOLL (or build/plimsoll) and sums up. Arguments: names of test files, or none for all.
# The clients come from a registry once; when none can be reached, that is a failure.
cd "$(dirname "$0")" || exit 2
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --no-audit --no-fund --loglevel=error || { echo "FAIL npm ci"; echo "0 passed, 1 failed"; exit 1; }
fi
# The long ones first, so that no core is idle at the end.
[ $# -gt 0 ] || set -- $(printf '%s\n' test_schemas.mjs test_agent_clis.mjs test_tool_schemas.mjs test_matrix.mjs test_*.mjs | awk '!seen[$0]++')
exec ../side_by_side.sh clients node "$@"
