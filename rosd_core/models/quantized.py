"""Frozen weights in 4 bits, under an adapter that is trained (QLoRA, arXiv 2305.14314).

Every linear layer but the head keeps a weight w of a block of 64 as one of 16 values q of the NF4
table, w = a q, with a = max |w| of the block, itself in 8 bits (double quantization): 0.516 bytes a
weight. A layer's weights are computed back to the activations' dtype when it runs. Embedding, norms
and head stay in fp32. The library is bitsandbytes, on a CPU as on a GPU.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from rosd_core.errors import RosdError
from rosd_core.models.loading import import_peft, load_plain, refuse_missing_gpu


def load_nf4(folder: Path, device: str) -> PreTrainedModel:
    """The model of a local folder with its linear layers in NF4, on the device. Raises RosdError
    where the libraries are missing, and as `load_plain` does.
    """
    if missing := [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]:
        raise RosdError(
            f"lora.quantize: nf4 needs {' and '.join(missing)}: pip install -e '.[qlora]'."
        )
    import_peft()
    refuse_missing_gpu(device)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = load_plain(folder, quantization_config=config, device_map={"": device})
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # on such a CPU a pass without gradients would repack the weights for products in bf16,
            # through which no gradient flows afterwards
            vars(module)["support_avx512bf16_for_cpu"] = False
    return model
