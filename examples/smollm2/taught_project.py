"""A project folder for the taught SmolLM2: the shipped params.yaml with taught.yaml on top, the
pipeline, and the study methods.yaml.

    python examples/smollm2/taught_project.py FOLDER
"""

import shutil
import sys
from pathlib import Path

from ruamel.yaml import YAML

from rosd_core.config.presets import apply_presets
from rosd_core.project.write import copy_parts, write_pipeline
from stages.init_project import SHIPPED, start_dvc


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    data = yaml.load((SHIPPED / "params.yaml").read_text(encoding="utf-8"))
    del data["bootstrap"]  # the recipe of the built-in model, which is not here
    yaml.dump(data, folder / "params.yaml")
    apply_presets(folder / "params.yaml", Path(__file__).resolve().parent, ["taught"])
    write_pipeline(SHIPPED / "dvc.yaml", folder)
    copy_parts(SHIPPED, folder)
    (folder / "study").mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("methods.yaml"), folder / "study")
    start_dvc(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
