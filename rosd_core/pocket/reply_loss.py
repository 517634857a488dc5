"""Cross-entropy of the learnt tokens of conversations, in packs that any supported model reads.

Dimension names: N learnt token, H hidden, V vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from rosd_core.forward.packing import batches, can_pack, pack, packed_hidden, padded_hidden
from rosd_core.losses.head import head_of
from rosd_core.models.loading import low_precision
from rosd_core.pocket.encoding import Encoded


def share_start(rows: Sequence[Encoded]) -> list[Encoded]:
    """The same tokens with the start that all prompts have in common, such as a template's system
    message, as the prompt: a pack holds it once.
    """
    shortest = min(rows, key=lambda row: len(row.prompt)).prompt
    size = next(
        (t for t, i in enumerate(shortest) if any(row.prompt[t] != i for row in rows)),
        len(shortest),
    )
    return [
        Encoded(
            row.prompt[:size],
            row.prompt[size:] + row.response,
            [t + len(row.prompt) - size for t in row.positions],
        )
        for row in rows
    ]


def reply_logp(
    model: PreTrainedModel, rows: Sequence[Encoded], pad: int, autocast: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of every learnt token, row by row, (N,), and whether it is the likeliest.
    Within packed_attention where the model can be packed.
    """
    with low_precision(model.device.type, autocast):
        if can_pack(model):
            hidden_NH = packed_hidden(model, pack(rows))
        else:
            hidden_NH = padded_hidden(model, rows, pad)
        logits_NV = head_of(model).logits(hidden_NH)
    ids_N = torch.tensor([row.response[t] for row in rows for t in row.positions])
    ids_N = ids_N.to(logits_NV.device)
    logp_N = -F.cross_entropy(logits_NV, ids_N, reduction="none")
    return logp_N, logits_NV.detach().argmax(-1) == ids_N


def read_rows(
    model: PreTrainedModel, rows: Sequence[Encoded], pad: int, batch_tokens: int, autocast: str
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """`reply_logp` of each row, without gradients."""
    shared, found = share_start(rows), {}
    with torch.inference_mode():
        for batch in batches(shared, batch_tokens):
            some = [shared[n] for n in batch]
            sizes = [len(row.positions) for row in some]
            parts = (x.cpu().split(sizes) for x in reply_logp(model, some, pad, autocast))
            found |= dict(zip(batch, zip(*parts, strict=True), strict=True))
    return [found[n] for n in range(len(rows))]


def backward(
    model: PreTrainedModel, rows: Sequence[Encoded], pad: int, batch_tokens: int, autocast: str
) -> float:
    """Add the gradient of the mean cross-entropy per learnt token of a step; the mean."""
    shared, total = share_start(rows), 0.0
    tokens = sum(len(row.positions) for row in rows)
    for batch in batches(shared, batch_tokens):
        logp_N, _ = reply_logp(model, [shared[n] for n in batch], pad, autocast)
        loss = -logp_N.sum() / tokens
        loss.backward()
        total += loss.item()
    return total
