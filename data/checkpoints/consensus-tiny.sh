#!/usr/bin/env bash
# Makes consensus-tiny.safetensors and its curves from nothing but seeds: about two hours on two cores.
#
#     data/checkpoints/consensus-tiny.sh WORK_DIR        # needs genoformer with the extra align; a rerun goes on
#
# The same bytes come of the same versions on the same kind of processor only: a CPU's matrix products differ in the last
# bit from one kind to the next, and training makes that grow.
set -euo pipefail
work=${1:?usage: consensus-tiny.sh WORK_DIR}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$work"

simulate() { # name, seed, ZMWs, size of the genome
    [ -e "$work/$1/simulation.json" ] && return
    genoformer consensus simulate --seed "$2" --zmws "$3" --random "$4" --passes 3-20 --length 1000-3500 -o "$work/$1"
}

simulate training 102 6000 12Mb
genoformer consensus examples "$work/training/subreads_to_ccs.bam" "$work/training/ccs.bam" \
    --truth-to-ccs "$work/training/truth_to_ccs.bam" --truth-bed "$work/training/truth.bed" \
    --truth-split "$work/training/truth_split.tsv" -o "$work/windows"
genoformer consensus train consensus_tiny.toml --data "$work/windows" -o "$work/run" --resume

# Qualities are calibrated on molecules of another genome, all of their windows corrected.
simulate calibration 103 1000 3Mb
genoformer model export "$work/run/best.safetensors" -o "$work/uncalibrated.safetensors" --force
genoformer consensus correct "$work/calibration/subreads_to_ccs.bam" "$work/calibration/ccs.bam" \
    -m "$work/uncalibrated.safetensors" --min-quality 0 --skip-windows-above 0 -o "$work/corrected.bam"
genoformer consensus calibrate "$work/corrected.bam" --truth "$work/calibration/truth.fasta" -o "$work/calibration.json"
genoformer model export "$work/run/best.safetensors" --calibration "$work/calibration.json" --force \
    --note "trained and calibrated on simulated Sequel I subreads alone; see consensus-tiny.md" \
    -o "$here/consensus-tiny.safetensors"
cp "$work/run/train.csv" "$here/consensus-tiny.train.csv"
cp "$work/run/eval.csv" "$here/consensus-tiny.eval.csv"
