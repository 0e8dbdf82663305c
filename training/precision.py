"""Half precision where a GPU computes it fast; elsewhere every precision means float32."""

import torch

from training.settings import Precision

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which the backbone runs forward; the weights and the objective stay in float32."""
    is_on = precision != "fp32" and device.type == "cuda"
    return torch.autocast(device.type, _DTYPES[precision] if is_on else None, enabled=is_on)


def needs_loss_scaling(precision: Precision, device: torch.device) -> bool:
    """True where small gradients would vanish: in float16, whose exponent has five bits only."""
    return precision == "fp16" and device.type == "cuda"
