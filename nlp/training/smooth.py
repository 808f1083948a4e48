"""Evens out activations before quantisation: outliers move into the weights, where each output channel has a scale.

Owns the scales of one network. Does not own quantisation itself (`export`).

Int8 gives all channels of a token one scale, so a single loud channel costs all others their precision. For each linear
layer, input channel j is divided by s_j and column j of the weight multiplied by it (SmoothQuant, Xiao et al. 2023),
with s_j from the largest activation and the largest weight seen. A few channels stay too loud even so: behind the GELU
one channel answers the first and the last token with 70 where others reach 5. Those are left out of the int8 product
and multiplied in float beside it (LLM.int8, Dettmers et al. 2022). What a GELU gives is nearly all positive: how far it
reaches below zero is added to it and taken back by the bias, so that all 255 steps serve it. The float network stays
the same function but for one thing: that bias takes back what the weights add once they are rounded to int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from nlp.training.calibrate import features

if TYPE_CHECKING:
    from nlp.network import Network
    from nlp.tokens import TextEncoder
    from nlp.training.corpora import Example

_LEAST: Final = 1e-5
_LOUD: Final = 16
"""Channels of each product behind the GELU that stay float; a multiplication of this width costs next to nothing."""
LOUD_PRODUCT: Final = "loud"
"""Part of the name of the graph's nodes that quantisation must leave in float."""
RAISED: Final = "raised"
"""Part of the name of the nodes whose values are never negative."""
STEPS: Final = 127
"""The largest int8 weight of an output channel."""
_GELU_DEPTH: Final = 0.17
"""How far below zero a GELU reaches: 0.16997."""
_STRENGTH: Final = 0.65
"""Measured: 0.5 and 0.8 are no better."""


def _places(network: Network) -> Iterator[tuple[nn.Module, list[Any]]]:
    """Yield each module whose input is evened out, with the linear layers that read this input."""
    for layer in network.encoder.encoder.layer:
        attention = layer.attention.self
        yield attention, [attention.query, attention.key, attention.value]
        yield layer.intermediate.dense, [layer.intermediate.dense]


class Raised(nn.Module):  # type: ignore[misc, unused-ignore] # without the extra `gpu` its base is unknown
    """Quiet channels evened out and raised above zero; a channel whose factor is 0 stays 0."""

    def __init__(self, factors: Tensor) -> None:
        """Multiply by `factors` (inputs) what comes out of a GELU."""
        super().__init__()
        self.factors = factors
        self.depths = factors * _GELU_DEPTH

    def forward(self, states: Tensor) -> Tensor:
        """Return values of at least 0, shaped like `states` (..., inputs)."""
        return states * self.factors + self.depths


class Decomposed(nn.Module):  # type: ignore[misc, unused-ignore] # as above
    """A linear layer behind a GELU in two products: the quiet channels, to be quantised, and the loudest, in float."""

    def __init__(self, dense: nn.Linear, peaks: Tensor, strength: float) -> None:
        """Split `dense` by the largest activation of each of its input channels, `peaks` (inputs)."""
        super().__init__()
        self.loudest = peaks.topk(min(_LOUD, len(peaks) // 2)).indices
        self.loud = nn.Linear(len(self.loudest), dense.out_features, bias=False)
        self.loud.weight = nn.Parameter(dense.weight[:, self.loudest].clone())
        self.dense = dense
        with torch.no_grad():
            dense.weight[:, self.loudest] = 0.0
            scales = _scales(peaks, dense.weight.abs().amax(0), strength)
            dense.weight *= scales
            inverse = 1 / scales
            inverse[self.loudest] = 0.0
            self.raised = Raised(inverse)
            dense.bias -= _in_steps(dense.weight) @ self.raised.depths

    def forward(self, states: Tensor) -> Tensor:
        """Return what the undivided layer would of the values of a GELU, once `dense` is rounded to int8."""
        quiet: Tensor = self.dense(self.raised(states))
        return quiet + self.loud(states[..., self.loudest])


def _in_steps(weight: Tensor) -> Tensor:
    """Return `weight` (outputs, inputs) as int8 will have it, so that what the bias takes back is what was added."""
    step = (weight.abs().amax(1, keepdim=True) / STEPS).clamp(min=1e-12)
    return (weight / step).round() * step


def _scales(peaks: Tensor, weights: Tensor, strength: float) -> Tensor:
    scales = peaks.clamp(min=_LEAST).pow(strength) / weights.clamp(min=_LEAST).pow(1 - strength)
    return scales.clamp(min=_LEAST)


def _watch(module: nn.Module, peaks: dict[nn.Module, Tensor]) -> Any:
    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen = inputs[0].detach().abs().flatten(0, -2).amax(0).float()
        peaks[module] = torch.maximum(peaks[module], seen) if module in peaks else seen

    return module.register_forward_pre_hook(note)


def _scale_input(module: nn.Module, inverse: Tensor) -> None:
    def scale(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * inverse, *inputs[1:])

    module.register_forward_pre_hook(scale)


def smooth(network: Network, encoder: TextEncoder, examples: list[Example], strength: float = _STRENGTH) -> None:
    """Even out the inputs of all linear layers of the encoder, in place; `examples` show how loud the channels get.

    `strength` from 0 (weights alone decide) to 1 (activations alone decide).
    """
    peaks: dict[nn.Module, Tensor] = {}
    layers = network.encoder.encoder.layer
    watched = [module for module, _ in _places(network)] + [layer.output.dense for layer in layers]
    hooks = [_watch(module, peaks) for module in watched]
    features(network, encoder, examples)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for module, readers in _places(network):
            loudest = torch.stack([reader.weight.abs().amax(0) for reader in readers]).amax(0)
            scales = _scales(peaks[module], loudest, strength)
            for reader in readers:
                reader.weight *= scales
            _scale_input(module, 1 / scales)
        for layer in layers:
            layer.output.dense = Decomposed(layer.output.dense, peaks[layer.output.dense], strength)
