"""bootstrap --from MODEL: teach a pretrained model the pocket world; no stage of dvc.yaml.

in  params finetune, machine, prompts; a model's folder, its id on the hub or a GGUF file
out models/<name>: whole weights or an adapter, curves/<name>.csv;
    while it runs, models/<name>.unfinished with the last save and curve.csv
"""

import shutil
from typing import Any

import polars as pl

from rosd_core.config.params import Params
from rosd_core.config.prompts import FIELDS
from rosd_core.config.training import student_options
from rosd_core.errors import RosdError
from rosd_core.models.gguf import find_or_convert
from rosd_core.models.loading import load_generation_config, load_tokenizer
from rosd_core.models.pointer import check_model
from rosd_core.models.student import open_student, save_student
from rosd_core.pocket.course import Course, Part
from rosd_core.pocket.encoding import encode, reply_end
from rosd_core.pocket.lessons import Lesson
from rosd_core.pocket.measure import set_exam
from rosd_core.pocket.recipe import Phase
from rosd_core.pocket.teach import Teaching, teach
from rosd_core.prompts.chat import pad_id, stop_ids
from rosd_core.prompts.templates import Prompts
from rosd_core.tables.atomic import replacing_folder
from rosd_core.tables.hashing import fingerprint
from rosd_core.tables.io import write_csv
from stages.paths import Paths, set_threads


def run(params: Params, paths: Paths, model: str, revision: str | None, name: str) -> None:
    """The course step by step; saved often, and gone on with where it was stopped."""
    p, target = params.finetune, paths.model(name)
    if p is None:
        raise RosdError("params.yaml has no section finetune; the built-in project has it.")
    _refuse_taken(paths, name, list(params.loop))
    set_threads(params.machine.threads)
    folder, _ = find_or_convert(model, revision, paths.model("base").parent)
    check_model(folder)
    tokenizer = load_tokenizer(folder)
    end = reply_end(tokenizer, stop_ids(load_generation_config(folder), tokenizer))
    weak: dict[str, Any] = {"weak_digits": p.weak_digits and p.weak_digits.model_dump()}
    parts = [
        Part(
            key, Phase(**phase.values_for(Phase)),
            Lesson(**p.values_for(Lesson) | phase.values_for(Lesson) | weak),
        )
        for key, phase in p.phases.items()
    ]  # fmt: skip
    examples = params.prompts.examples.model_dump()
    prompts = Prompts(params.prompts.only(*FIELDS), examples=examples)
    course = Course(p.seed, p.rows_per_step, prompts, parts)
    exam = set_exam(course, p.held_out, tokenizer, end)
    where = {"device": params.machine.device, "root": paths.root}
    student = open_student(folder, seed=p.seed, **where, **student_options(p.lora))
    begun = p.what_is_learnt() | {"model": fingerprint(folder), "examples": examples}
    begun |= {f"prompts.{template}": text for template, text in prompts.templates.items()}
    work = target.with_name(f"{name}.unfinished")
    curve = teach(
        student.model, course, lambda step: encode(course.draw(step), tokenizer, end), exam,
        Teaching(**p.values_for(Teaching)), pad_id(tokenizer), work, begun,
    )  # fmt: skip
    with replacing_folder(target) as folder:
        save_student(student, tokenizer, folder, merge=p.lora is not None and p.lora.merge)
    write_csv(pl.DataFrame(curve), paths.curve(name), 6)
    shutil.rmtree(work)
    if p.lora is None or p.lora.merge:
        print(f"{target}: ready. `rosd base {target}` makes it the project's base model.")
    else:
        print(f"{target}: an adapter. `rosd merge {target} FOLDER` makes a whole model of it.")


def _refuse_taken(paths: Paths, name: str, iterations: list[str]) -> None:
    """Raises RosdError for a name that another model has."""
    if name in ("base", *iterations):
        raise RosdError(f"--to {name}: models/{name} is the project's own; take another name.")
    if paths.model(name).exists():
        raise RosdError(f"{paths.model(name)} is there already; delete it, or give --to NAME.")
