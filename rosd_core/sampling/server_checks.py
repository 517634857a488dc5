"""Whether a server serves the student: its folder, its tokenizer, and its weights.

The weights are compared by what they compute: a few sampled tokens have to have the
log-probabilities that the model in the folder gives them.

Dimension names: N token, V vocabulary.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rosd_core.errors import RosdError
from rosd_core.models.loading import load_weights
from rosd_core.prompts.chat import encode_chat
from rosd_core.sampling.draw import nucleus_logp
from rosd_core.sampling.engine import Decoding, Request
from rosd_core.sampling.server_client import Client

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rosd_core.sampling.server_engine import ServerEngine

TEXT = "Two trains, 3 km apart: which one is faster?\nÄ 17 x (4 - 9) = ?"
TOKENS, TEMPERATURE, SEED = 24, 0.7, 20260528


def refuse_other_folder(client: Client, entry: Mapping[str, Any], folder: Path) -> None:
    """Raises RosdError where the server says that it reads its model from another folder that is
    here, too: most often the model of an earlier iteration.
    """
    root = entry.get("root")
    if isinstance(root, str) and Path(root).is_dir() and Path(root).resolve() != folder.resolve():
        raise RosdError(
            f"{client.url} serves {root}, but the student is {folder}. Start the server again with "
            "it, or train an adapter (distill.lora), which is loaded while the server runs."
        )


def check_tokenizer(client: Client, name: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raises RosdError where the server encodes a text in other ids. A server that cannot be asked
    is judged by the log-probabilities alone.
    """
    found: Any = None
    with suppress(RosdError):
        body = {"model": name, "prompt": TEXT, "add_special_tokens": False}
        found = client.post("/tokenize", body)
    ours = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    if isinstance(found, dict) and "tokens" in found and found["tokens"] != ours:
        raise RosdError(
            f"{client.url}: {name} has another tokenizer than the student, so the ids that it "
            "samples would mean something else. Serve the student's model."
        )


@torch.inference_mode()
def check_model(
    engine: "ServerEngine", folder: Path, tokenizer: "PreTrainedTokenizerBase", bound: float
) -> None:
    """Raises RosdError where sampled tokens have other log-probabilities than under the model in
    `folder`, by more than `bound` nats on average. Finds out whether the server reports them before
    or after temperature.
    """
    prompt = encode_chat(tokenizer, [{"role": "user", "content": TEXT}])
    room = min(TOKENS, engine.context_length - len(prompt))
    request = Request("check", prompt, SEED)
    (done,) = engine.generate([request], Decoding(TEMPERATURE, 1.0, room))
    model = load_weights(folder, "cpu")
    ids_1T = torch.tensor([[*prompt, *done.token_ids]])
    logits_NV = model(ids_1T, use_cache=False).logits[0, len(prompt) - 1 : -1]
    token_N, told_N = torch.tensor(done.token_ids), torch.tensor(done.logprobs)
    apart = {
        temperature: float(
            (nucleus_logp(logits_NV, token_N, temperature, 1.0) - told_N).abs().mean()
        )
        for temperature in (TEMPERATURE, 1.0)
    }
    if min(apart.values()) <= bound:  # a wide bound may hold both
        engine.raw = apart[1.0] < apart[TEMPERATURE] / 2
        return
    raise RosdError(
        f"{engine.client.url}: {engine.model} is not the student {folder}: the log-probabilities "
        f"of {len(done.token_ids)} sampled tokens differ by {min(apart.values()):.4f} nats on "
        f"average, more than engine.parity.bound = {bound:g}. Serve the student's model; for one "
        "that is served in bfloat16 raise the bound to 0.05."
    )
