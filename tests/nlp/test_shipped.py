from __future__ import annotations

from pathlib import Path

from nlp.shipped import DEFAULT, SIZES, WEIGHTS, folder_of


def test_a_model_is_chosen_by_name_or_folder(tmp_path: Path) -> None:
    assert folder_of(None) == WEIGHTS / DEFAULT
    assert [folder_of(Path(size)) for size in SIZES] == [WEIGHTS / size for size in SIZES]
    assert folder_of(tmp_path) == tmp_path
    assert folder_of(tmp_path / "small") == tmp_path / "small"
