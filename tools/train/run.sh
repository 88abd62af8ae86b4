#!/bin/sh
# The whole recipe: corpus, tokenizer, training, GGUF. Needs Debian's python3-torch and python3-numpy.
# usage: tools/train/run.sh [build folder]      (default out, which git ignores)
set -eu
cd "$(dirname "$0")"
B=${1:-out}
PY=${PYTHON:-/usr/bin/python3}
mkdir -p "$B"
$PY generate.py "$B/train.txt" --seed 1 --bytes "${BYTES:-75000000}"
$PY generate.py "$B/heldout.txt" --seed 2 --bytes 1000000
$PY generate.py "$B/heldout_stories.txt" --seed 3 --bytes 400000 --kind stories
$PY tokenizer.py train "$B/train.txt" "$B/vocab.json"
for s in train heldout heldout_stories; do
    $PY tokenizer.py encode "$B/$s.txt" "$B/vocab.json" "$B/$s.bin"
done
# Two stages: short windows first, then long ones with momentum anew.
$PY train.py --build "$B" --steps 1150 --stop 800
$PY train.py --build "$B" --finish --steps 260 --seed 2
$PY export.py --build "$B" --out ../../models/plimsoll-tiny.gguf --heldout ../../models/heldout.txt
