import math

import pytest

from rosd_core.errors import RosdError
from rosd_core.sampling.engine import Completion, Request
from rosd_core.sampling.requests import refuse_bad_logprobs

REQUESTS = [Request("a", [1], 1), Request("b", [1], 2)]
GOOD = Completion([5, 6], [-1.0, 1e-7], "stop", [-0.5, 0.0])


def test_rounding_is_no_fault():
    refuse_bad_logprobs("vLLM", REQUESTS, [GOOD, GOOD])


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf, 0.5, None])
@pytest.mark.parametrize("name", ["logprobs", "model_logprobs"])
def test_row_and_token_are_named(value, name):
    own = {"logprobs": [-1.0, -1.0], "model_logprobs": [-1.0, -1.0]}
    own[name] = [-1.0, value]
    bad = Completion([5, 6], own["logprobs"], "stop", own["model_logprobs"])
    match = rf"vLLM: row b: the log-probability of sampled token 1 is {value} \({name}\)"
    with pytest.raises(RosdError, match=match):
        refuse_bad_logprobs("vLLM", REQUESTS, [GOOD, bad])
