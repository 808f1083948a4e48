"""The evidence for near copies is measured on tweets of any script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import near_copies
from nlp.shipped import FAST, folder_of

TWEETS = """\
text\tlabel
今日はとても楽しかった\tneutral
no power at our place.\tnegative
Пожар в центре города.\tnegative
all is well, thank you.\tpositive
\u200b\tneutral
"""


def test_a_tweet_in_a_script_that_the_model_refuses_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "xlm_t").mkdir()
    (tmp_path / "xlm_t" / "xx_train.tsv").write_text(TWEETS, encoding="utf-8")
    model = str(folder_of(Path(FAST)))
    monkeypatch.setattr(sys, "argv", ["near_copies", str(tmp_path), "--pairs", "10", "--model", model])
    near_copies.main()
    shown = capsys.readouterr().out
    assert "| none: alone, not in a batch | 2 |" in shown
    assert "| closing full stop | 2 |" in shown
