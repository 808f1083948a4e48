from __future__ import annotations

from pathlib import Path

import pytest

from app import protocol
from app.frames import Delta, Snapshot


def test_the_committed_typescript_is_what_the_models_say() -> None:
    stale = "frontend/src/protocol.ts is stale: run `python -m app.protocol` and commit the result"
    assert protocol.PROTOCOL.read_text(encoding="utf-8") == protocol.render(), stale


def test_writing_is_idempotent_and_tells_of_a_change(tmp_path: Path) -> None:
    path = tmp_path / "protocol.ts"
    assert protocol.write(path)
    assert not protocol.write(path)
    path.write_text("export {};\n", encoding="utf-8")
    assert protocol.write(path)


@pytest.mark.parametrize("model", [Snapshot, Delta])
def test_every_field_of_a_model_is_on_the_wire_by_its_alias(model: type[Snapshot | Delta]) -> None:
    text = protocol.render()
    body = text.split(f"export interface {model.__name__} {{")[1].split("\n}")[0]
    for name, field in model.model_fields.items():
        assert f"  {field.alias or name}" in body


def test_what_has_a_default_may_be_absent_but_discriminators_may_not() -> None:
    body = protocol.render().split("export interface Delta {")[1].split("\n}")[0]
    assert '  t: "d";' in body
    assert "  from: number;" in body
    assert "  ins?: Item[];" in body
    assert "  figures?: Figures | null;" in body


def test_a_field_without_counterpart_is_an_error() -> None:
    with pytest.raises(TypeError, match="no TypeScript counterpart"):
        protocol._type({"type": "object"})
