"""Which device computes, in which precision, and what becomes of a batch that is too large for it or of a lost device.

Owns what torch's errors mean to a scorer. Does not own a network. Imported only where torch was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import torch
from torch import Tensor

from nlp.scorer import BATCH_TOKENS, ScorerError

Entry = TypeVar("Entry")
_CUDA_TOKENS: Final = 16_384
"""Padded tokens of one batch on a GPU: at fewer the start of each kernel costs more than its work."""
_LOST: Final = ("CUDA error", "CUBLAS_STATUS", "cuDNN error", "device-side assert", "HIP error")


class DeviceLost(RuntimeError):
    """The device answers no more, for any text. No ScorerError on purpose: no mention is to blame, the scorer ends."""


def best_device() -> torch.device:
    """Return the first CUDA device, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Return float16 on a CUDA device, float32 on a CPU.

    The shipped word vectors are float16 numbers, and its 11 bits keep the answers nearer to float32 than bfloat16's 8
    do (tests/nlp/test_parity.py), which matters more than bfloat16's range: activations of the encoder stay below 100.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


def batch_tokens(device: torch.device) -> int:
    """Return how many padded tokens one batch should have on the device."""
    return _CUDA_TOKENS if device.type == "cuda" else BATCH_TOKENS


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; to CUDA through pinned memory, so that the copy does not wait for the GPU."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def in_parts(run: Callable[[Sequence[Entry]], Tensor], entries: Sequence[Entry]) -> Tensor:
    """Return `run(entries)`, a row per entry; where memory does not suffice, of halves, put together again.

    Raise ScorerError if a single entry is too large or torch fails on these entries, DeviceLost if the device is gone.
    """
    try:
        with torch.inference_mode():
            return run(entries)
    except ScorerError:
        raise
    except torch.OutOfMemoryError as error:
        if len(entries) == 1:
            raise ScorerError(f"the device has no memory for one text: {error}") from error
    except (RuntimeError, IndexError, ValueError) as error:
        raise _meaning(error, len(entries)) from error
    # Outside of the handler: the error holds the frames, and they hold the tensors that have to go first.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(entries) // 2
    return torch.cat((in_parts(run, entries[:middle]), in_parts(run, entries[middle:])))


def _meaning(error: Exception, count: int) -> RuntimeError:
    if isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _LOST):
        return DeviceLost(
            f"the GPU answers no more ({error}): look for its fault in `nvidia-smi` and the kernel's log, start the "
            "process again, or set WARROOM_SCORER=onnx to score on the CPU"
        )
    return ScorerError(f"torch failed on {count} texts: {error}")
