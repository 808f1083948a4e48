"""How loud each channel of the input of each linear layer gets, so that int8 can give each channel its own step.

Owns the measurement. Does not own what is made of it (`channel_int8`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nlp.training.calibrate import features

if TYPE_CHECKING:
    from nlp.network import Network
    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Example


def loudest(network: Network, encoder: TextEncoder, examples: list[Example]) -> dict[str, NDArray[np.float32]]:
    """Return the largest magnitude of each input channel (inputs) of each linear layer of the encoder, by its name.

    Names are those of `network.named_modules()`. Padding is seen too: it is quantised like every other token.
    """
    layers = {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    seen: dict[str, Tensor] = {}
    hooks = [part.register_forward_pre_hook(_noting(name, seen)) for name, part in layers.items()]
    features(network, encoder, examples)
    for hook in hooks:
        hook.remove()
    return {name: peaks.numpy() for name, peaks in seen.items()}


def _noting(name: str, seen: dict[str, Tensor]) -> Any:
    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        peaks = inputs[0].detach().abs().flatten(0, -2).amax(0).float()
        seen[name] = torch.maximum(seen[name], peaks) if name in seen else peaks

    return note
