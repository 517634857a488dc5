"""The loss of a batch, from packed or padded rows through the model and its head.

Dimension names: N supervised token.
"""

import torch
from transformers import PreTrainedModel

from rosd_core.distill.step_log import Ratios
from rosd_core.distill.targets import Batch, Objective, collate
from rosd_core.forward.packing import can_pack, pack, packed_hidden, padded_hidden
from rosd_core.losses.head import head_of
from rosd_core.losses.head_loss import head_loss
from rosd_core.losses.token_losses import TokenInputs


def batch_loss(
    model: PreTrainedModel, batch: Batch, objective: Objective, pad_id: int, scale: float = 1.0
) -> tuple[torch.Tensor, Ratios]:
    """Loss of a batch, summed over its supervised tokens and divided by `scale`, and its ratios.
    Within packed_attention where the model can be packed.
    """
    if can_pack(model):
        hidden_NH = packed_hidden(model, pack(batch.student))
    else:
        hidden_NH = padded_hidden(model, batch.student, pad_id)
    targets = collate(batch, objective, hidden_NH.device)
    head = None if objective.teacher is None else objective.teacher.head
    loss, student_N = head_loss(hidden_NH, head_of(model), targets, objective.settings, head, scale)
    student_N, start_N = student_N.float(), batch.column("student_logp", hidden_NH.device)
    tokens = TokenInputs(student_N, targets.behaviour_N, targets.weight_N)
    return loss, Ratios(tokens, (student_N - start_N).exp())
