from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from nlp import choice
from nlp.choice import BackendMissing, chosen, has_cuda, is_ours, open_scorer
from nlp.onnx_cpu import SHIPPED, OnnxScorer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / choice.CHECKPOINT).write_text("{}")
    return tmp_path


def test_auto_takes_torch_only_where_cuda_is(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setattr(choice, "has_cuda", lambda: True)
    assert chosen("auto", SHIPPED) == "torch"
    assert chosen("onnx", SHIPPED) == "onnx"
    monkeypatch.setattr(choice, "has_cuda", lambda: False)
    assert chosen("auto", SHIPPED) == "onnx"
    assert chosen("torch", SHIPPED) == "torch"
    assert chosen("auto", checkpoint) == "torch"


@pytest.mark.parametrize("missing", ["torch", "transformers", "onnx"])
def test_cuda_counts_only_with_the_whole_extra(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr("nlp.choice.importlib.util.find_spec", lambda name: None if name == missing else object())
    assert not has_cuda()
    with pytest.raises(BackendMissing, match=rf"{missing}: pip install 'warroom\[gpu\]'"):
        open_scorer(backend="torch")


def test_auto_opens_the_shipped_model_on_a_machine_without_cuda() -> None:
    if find_spec("torch") is not None and has_cuda():
        pytest.skip("misses the choice without CUDA: this machine has it")
    scorer = open_scorer(backend="auto", threads=1)
    assert isinstance(scorer, OnnxScorer)
    scorer.close()


def test_ours_are_told_from_foreign_models(tmp_path: Path, checkpoint: Path) -> None:
    assert is_ours(SHIPPED)
    assert is_ours(checkpoint)
    (tmp_path / choice.CHECKPOINT).unlink()
    (tmp_path / "config.json").write_text("{}")
    assert not is_ours(tmp_path)
