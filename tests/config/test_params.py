import pytest

from rosd_core.config.edit import rewrite_loop, rewrite_method
from rosd_core.config.load import load_params
from rosd_core.config.methods import METHODS
from rosd_core.errors import RosdError
from tests.support import ROOT, write_params

NO_LORA = (
    "  lora: null                  # or {rank: 16, alpha: 32, dropout: 0.0, modules: all-linear, "
    "merge: false}"
)


def complaint(tmp_path, text_change):
    text = (ROOT / "params.yaml").read_text()
    old, new = text_change
    assert old in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(RosdError) as error:
        load_params(file)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("  alpha:", "  alhpa:"), ["unknown key 'distill.alhpa'", "Did you mean 'alpha'?"]),
        (("  alpha: 0.5", "  alpha: 1.5"), ["distill.alpha = 1.5", "less than or equal to 1"]),
        (("teacher: base ", "teacher: bse "), ["score.teacher = 'bse'", "'base', 'current'"]),
        (("reflect:\n", "reflct:\n"), ["unknown key 'reflct'", "Did you mean 'reflect'?"]),
        (("reflect:\n", "reflct:\n"), ["'reflect' is missing"]),
        (("  i1: {start: base}", "  1: {start: base}"), ["loop: the key 1 is not text"]),
        (("i3: {start: i2}", "i3: {start: i9}"), ["loop.i3.start: 'i9' is none of base, i1, i2"]),
        (("i3: {start: i2}", "i3: {strat: i2}"), ["'loop.i3.strat'", "Did you mean 'start'?"]),
        (("i1: {start: base}", "i1: [base"), ["not valid YAML in line "]),
        (("  alpha: 0.5", "  alpha: .nan"), ["distill.alpha = nan", "finite number"]),
        (("learning_rate: 0.00002", "learning_rate: .inf"), ["distill.learning_rate = inf"]),
        (("learning_rate: 0.00002", "learning_rate: 'nan'"), ["distill.learning_rate = 'nan'"]),
        (("learning_rate: 0.00002", "learning_rate: 1e30"), ["less than or equal to 1000000000"]),
        (("    options: {} ", "    options: {a: [.inf]} "), ["inf is no number that a setting"]),
        (("rollout:\n  seed: 1", "rollout:\n  seed: -1"), ["rollout.seed = -1", "equal to 0"]),
        (("batch_tokens: 4096", "batch_tokens: 1e30"), ["distill.batch_tokens = 1e+30"]),
        (
            ("  problems: 96", "  problems: 0"),
            ["rollout.problems = 0 is not allowed: Input should be greater than or equ"],
        ),
        (
            ("  betas: [0.9, 0.999]", "  betas: [0.9]"),
            ["distill.betas = [0.9] is not allowed: it "],
        ),
        ((NO_LORA, "  lora: true #"), ["distill.lora = True is not allowed: "]),
        (("offload: false", "offload: true"), ["offload needs distill.sharding fsdp"]),
        (("optimizer: adamw ", "optimizer: adam "), ["distill.optimizer = 'adam'", "'adafactor'"]),
        (("success_drop: 0.2", "success_drop: 2"), ["guards.rollout.success_drop = 2"]),
        (
            ("  action: stop", "  action: halt"),
            ["guards.action = 'halt'", "'stop', 'warn' or 'off'"],
        ),
    ],
)
def test_complaints_name_the_key_and_what_is_allowed(tmp_path, change, parts):
    message = complaint(tmp_path, change)
    assert all(part in message for part in parts), message


def test_what_cannot_be_sharded_is_refused(tmp_path):
    write_params(tmp_path, {"distill": {"sharding": "fsdp", "optimizer": "adafactor"}})
    with pytest.raises(RosdError, match=r"adafactor needs distill\.sharding none"):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RosdError, match=r"nothing\.yaml: no such file"):
        load_params(tmp_path / "nothing.yaml")


def test_exponents_without_a_dot_are_numbers(tmp_path):
    file = write_params(tmp_path, {})
    file.write_text(file.read_text().replace("learning_rate: ", "learning_rate: 1e-4 # "))
    assert load_params(file).distill.learning_rate == 1e-4


def test_rewriting_the_loop_keeps_everything_else(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text((ROOT / "params.yaml").read_text())
    rewrite_loop(file, 3)  # whoever runs the tests may have set another number
    before = file.read_text()
    rewrite_loop(file, 5)
    assert load_params(file).loop["i5"].start == "i4"
    rewrite_loop(file, 3)
    assert file.read_text().split() == before.split()  # comments too; only spacing may move
    with pytest.raises(RosdError, match="at least 1"):
        rewrite_loop(file, 0)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_settings_and_nothing_else(tmp_path, name):
    file = tmp_path / "params.yaml"
    file.write_text((ROOT / "params.yaml").read_text())
    rewrite_method(file, "rosd")  # whoever runs the tests may have set another method
    before = file.read_text()
    rewrite_method(file, name)
    params = load_params(file).model_dump()
    for key, value in METHODS[name].items():
        section, field = key.split(".")
        assert params[section][field] == value
    rewrite_method(file, "rosd")
    assert file.read_text() == before  # comments and layout included


def test_an_unknown_method_is_refused(tmp_path):
    file = write_params(tmp_path, {})
    with pytest.raises(RosdError, match="no method 'opd'; there are: rosd, "):
        rewrite_method(file, "opd")


@pytest.mark.parametrize("mask", ["divergence", "quote_or_divergence"])
@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("score", "targets", "none", "needs score.targets topk or hidden"),
        ("align", "teacher_context", "none", "needs a teacher"),
    ],
)
def test_a_mask_by_divergence_needs_scores(tmp_path, mask, section, key, value, said):
    changes: dict = {"align": {"mask": mask}}
    load_params(write_params(tmp_path, changes))
    changes[section] = changes.get(section, {}) | {key: value}
    with pytest.raises(RosdError, match=rf"align\.mask: {mask} {said}"):
        load_params(write_params(tmp_path, changes))


def test_ideas_are_not_checked_without_a_model(tmp_path):
    file = write_params(tmp_path, {"score": {"idea_check": "drop", "targets": "none"}})
    with pytest.raises(RosdError, match=r"score\.idea_check: drop needs score\.targets topk"):
        load_params(file)
