from __future__ import annotations

from collections.abc import Sequence

import pytest

from nlp.scorer import BATCH_TOKENS, Closed, ScorerError

torch = pytest.importorskip("torch", reason="misses the errors of devices: torch is not installed (extra gpu)")
from nlp.torch_device import DeviceLost, batch_tokens, in_parts, precision  # noqa: E402 - only where torch is


class Device:
    """Holds `room` entries at once, and notes what it was given."""

    def __init__(self, room: int) -> None:
        self.room, self.sizes = room, list[int]()

    def __call__(self, entries: Sequence[int]) -> object:
        self.sizes.append(len(entries))
        if len(entries) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.tensor([[entry, entry * 10] for entry in entries])


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_a_batch_too_large_is_run_in_halves_and_keeps_its_order(count: int) -> None:
    device = Device(room=2)
    rows = in_parts(device, range(count))
    assert rows.tolist() == [[entry, entry * 10] for entry in range(count)]
    assert sum(size for size in device.sizes if size <= 2) == count


def test_one_text_that_is_too_large_is_an_error_of_that_text() -> None:
    with pytest.raises(ScorerError, match="no memory for one text"):
        in_parts(Device(room=0), [1, 2])


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx"),
    ],
)
def test_a_lost_device_is_nobodys_text(error: RuntimeError) -> None:
    def run(_: Sequence[int]) -> object:
        raise error

    with pytest.raises(DeviceLost, match="WARROOM_SCORER=onnx") as lost:
        in_parts(run, [1])
    assert not isinstance(lost.value, ScorerError)


def test_other_failures_are_the_texts_and_closing_stays_closing() -> None:
    def mismatched(_: Sequence[int]) -> object:
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

    def beyond(_: Sequence[int]) -> object:
        raise IndexError("index out of range in self")

    def unfit(_: Sequence[int]) -> object:
        raise ValueError("Cannot handle batch sizes > 1")

    def closed(_: Sequence[int]) -> object:
        raise Closed("the scorer was closed")

    for run in (mismatched, beyond, unfit):
        with pytest.raises(ScorerError, match="failed on 1 texts"):
            in_parts(run, [1])
    with pytest.raises(Closed):
        in_parts(closed, [1])


def test_a_gpu_computes_in_half_precision_and_takes_larger_batches() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert precision(gpu) == torch.float16
    assert precision(cpu) == torch.float32
    assert batch_tokens(gpu) > batch_tokens(cpu) == BATCH_TOKENS
