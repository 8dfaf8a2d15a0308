#!/usr/bin/env bash
# Makes expression-demo.safetensors and its curves from nothing but seeds: about ten minutes of one core.
#
#     data/checkpoints/expression-demo.sh WORK_DIR        # a rerun goes on
#
# The same bytes come of the same versions on the same kind of processor only: a CPU's matrix products differ in the last
# bit from one kind to the next, and training makes that grow.
set -euo pipefail
work=${1:?usage: expression-demo.sh WORK_DIR}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$work"

genoformer expression simulate --seed 11 --size 3Mb -o "$work/genome"
genoformer expression examples "$work/genome/genome.fa" "$work/genome/targets.txt" \
    --regions "$work/genome/sequences.bed" --sequence-length 6144 --bin 32 -o "$work/examples"
genoformer expression train expression_demo.toml --data simulated="$work/examples" -o "$work/run" --threads 1 --resume
genoformer model export "$work/run/best.safetensors" --force \
    --note "trained on simulated tracks alone, for the demo and for tests; see expression-demo.md" \
    -o "$here/expression-demo.safetensors"
genoformer expression assess "$here/expression-demo.safetensors" --data "$work/examples" --split test --threads 1 \
    -o "$here/expression-demo.test.tsv"
cp "$work/run/train.csv" "$here/expression-demo.train.csv"
cp "$work/run/eval.csv" "$here/expression-demo.eval.csv"
