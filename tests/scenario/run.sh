#!/bin/sh
# Runs every scenario test against $PLIMSOLL (or build/plimsoll) and sums up. Arguments: names of test files, or none for all.
cd "$(dirname "$0")" || exit 2
export PYTHONDONTWRITEBYTECODE=1
# The long ones first, so that no core is idle at the end.
[ $# -gt 0 ] || set -- $(printf '%s\n' test_storm.py test_levels.py test_guard.py test_stuck.py test_groups.py test_memory.py test_malformed_models.py \
    test_timeline.py test_top.py test_dialects.py test_generate.py test_bad_input.py test_lifecycle.py test_load.py test_*.py | awk '!seen[$0]++')
exec ../side_by_side.sh scenario python3 "$@"
