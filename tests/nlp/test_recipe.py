"""The recipe: every step exists, what is done is skipped, and the first failure ends it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from nlp.training.recipe import Step, run, steps


def test_every_step_is_a_module_and_feeds_the_next(tmp_path: Path) -> None:
    found = steps(tmp_path / "data", tmp_path / "work", 3.0)
    assert all(find_spec(step.module) for step in found)
    made = [str(step.makes.parent) for step in found if step.makes]
    assert len(made) == len(set(made)) == 8
    for at, folder in enumerate(made):
        readers = [n for n, step in enumerate(found) if step.makes is None or str(step.makes.parent) != folder]
        assert any(folder == argument.partition("=")[0] for n in readers if n > at for argument in found[n].arguments)
    for at, step in enumerate(found):  # nothing is read before it is made
        for argument in step.arguments:
            assert argument.partition("=")[0] not in made[at + 1 :]


def test_done_steps_are_skipped_and_a_failure_ends_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = tmp_path / "heads.json"
    done.write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        run(
            [Step("json.tool", ("missing",), done), Step("this", ()), Step("json.tool", ("missing",)), Step("this", ())]
        )
    assert ended.value.code
    assert capfd.readouterr().out.count("Beautiful is better than ugly") == 1
