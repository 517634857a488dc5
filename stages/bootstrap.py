"""bootstrap: train the pocket model from nothing; frozen in dvc.yaml, the weights are shipped.

in  params bootstrap, prompts
out models/base, metrics/bootstrap-base.json
"""

from rosd_core.config.params import Params
from rosd_core.config.prompts import FIELDS
from rosd_core.errors import RosdError
from rosd_core.models.pointer import refuse_pointer
from rosd_core.pocket.course import HELD_OUT
from rosd_core.pocket.lessons import Conversation, Lesson, draw_conversations
from rosd_core.pocket.recipe import Phase, build_model, build_tokenizer, text_sample, train
from rosd_core.prompts.templates import Prompts
from rosd_core.tables.atomic import replacing_folder, write_json
from stages.paths import Paths, set_threads


def run(params: Params, paths: Paths) -> None:
    """Phase after phase, each on its own lesson: a pure function of seed and threads."""
    refuse_pointer(paths.model("base"))
    if params.bootstrap is None:
        raise RosdError("params.yaml has no section bootstrap; the built-in project has it.")
    p, prompts = params.bootstrap, Prompts(params.prompts.only(*FIELDS))
    set_threads(p.threads)
    weak = None if p.weak_digits is None else p.weak_digits.model_dump()
    lessons = {
        name: Lesson(
            phase.mix, p.domains, p.forget, p.slip_rate, phase.misconceptions, p.imitation, weak
        )
        for name, phase in p.phases.items()
    }
    tokenizer = build_tokenizer(text_sample(p.seed, prompts, list(lessons.values())), p.vocab_size)
    model = build_model(tokenizer, p.seed, **p.model.model_dump())
    done, exactness = 0, {}
    for name, phase in p.phases.items():

        def draw(
            step: int, lesson: Lesson = lessons[name], count: int = p.rows_per_step
        ) -> list[Conversation]:
            return draw_conversations(p.seed, step, count, prompts, lesson)

        schedule = Phase(**phase.model_dump(exclude={"mix", "misconceptions"}))
        held_out = draw(HELD_OUT, count=300)
        exactness[name] = train(
            model, tokenizer, draw, held_out, schedule, done, p.weight_decay, p.batches_per_step
        )
        done += phase.steps
        with replacing_folder(paths.model("base")) as target:
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
    write_json(paths.metrics("bootstrap", "base"), exactness)


if __name__ == "__main__":
    from stages.cli import main

    main("bootstrap")
