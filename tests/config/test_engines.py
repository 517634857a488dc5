"""params.yaml: engine, reflect.model and score.teacher."""

import pytest

from rosd_core.config.engines import OtherModel
from rosd_core.config.load import load_params
from rosd_core.errors import RosdError
from tests.support import engine_params, write_params


def params(folder, **sections):
    return load_params(write_params(folder, sections))


def test_another_teacher_is_a_model(tmp_path):
    assert params(tmp_path, score={"teacher": {"model": "big"}}).score.teacher == OtherModel(
        model="big"
    )


@pytest.mark.parametrize("engine", ["vllm", "server"])
def test_only_the_engine_transformers_has_an_autocast(tmp_path, engine):
    file = write_params(tmp_path, {"reflect": {"engine": engine, "autocast": "bfloat16"}})
    with pytest.raises(RosdError, match=r"reflect\.autocast bfloat16 is of the engine tra"):
        load_params(file)


@pytest.mark.parametrize("teacher", ["bse", {"modle": "x"}, {"model": 3}, ["base"]])
def test_a_teacher_that_is_none_gets_one_complaint(tmp_path, teacher):
    with pytest.raises(RosdError, match=r"score\.teacher = .* and \{model: FOLDER\}") as error:
        params(tmp_path, score={"teacher": teacher})
    assert len(str(error.value).splitlines()) == 1


def test_an_url_of_the_reflector_needs_a_model_on_a_server(tmp_path):
    url = "http://127.0.0.1:9"
    with pytest.raises(RosdError, match=r"reflect\.url needs reflect\.engine server"):
        params(tmp_path, reflect={"url": url})
    asked = params(tmp_path, reflect={"url": url, "engine": "server", "model": "big"})
    assert asked.reflect.url == url


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("server", "url"), "127.0.0.1:8000"),
        (("server", "concurrency"), 0),
        (("parity", "bound"), 0),
        (("vllm", "dtype"), "fp8"),
        (("vllm", "gpu_memory"), 1.5),
    ],
)
def test_bad_settings_are_named(tmp_path, part, value):
    section, key = part
    engine = engine_params(**{section: {key: value}})
    with pytest.raises(RosdError, match=rf"engine\.{section}\.{key} = "):
        params(tmp_path, engine=engine)
    with pytest.raises(RosdError, match=r"engine\.workers = 0"):
        params(tmp_path, engine={"workers": 0})
