"""warroom.yaml is checked as a whole: each fault has its line, its field and its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.configuration import parse_configuration, read_configuration
from app.yaml_lines import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent.parent

GOOD = """\
version: 1
sources:
  - id: practice
    kind: rehearsal
queries:
  - id: nova
    name: Nova
    match: nova OR "nova air"
receivers:
  - id: console
    kind: console
rules:
  - id: burst
    name: Burst
    query: nova
    measure: count
    threshold: 5
    window: 1m
    receivers: [console]
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        parse_configuration(text, "w.yaml")
    return error.value.faults


def test_the_sample_is_fine() -> None:
    configuration = read_configuration(ROOT / "warroom.yaml")
    assert {source.kind for source in configuration.sources} >= {"bluesky", "rss", "rehearsal"}
    assert configuration.rules


def test_a_good_one_is_read() -> None:
    configuration = parse_configuration(GOOD)
    assert [query.id for query in configuration.queries] == ["nova"]
    assert list(configuration.rules[0].query) == ["nova"]


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("version: 1", "version: 2"), 1, ["version", "must be 1"]),
        (("version: 1", "version: true"), 1, ["version", "must be 1"]),
        (("version: 1", 'version: !!int ""'), 1, ["version", "not of the form that int has"]),
        (("threshold: 5", 'threshold: !!float ""'), 17, ["rules[0].threshold", "not of the form that float has"]),
        (("threshold: 5", f"threshold: {'1:' * 200}1.5"), 17, ["rules[0].threshold", "float has"]),
        (("name: Nova", "name: !!bool nova"), 7, ["queries[0].name", "not of the form that bool has"]),
        (("window: 1m", "window: !!timestamp 1m"), 18, ["rules[0].window", "not of the form that timestamp has"]),
        (("name: Nova", "name: No\x00va"), 7, ["not allowed", "take"]),
        (("kind: rehearsal", "kind: carrier-pigeon"), 4, ["sources[0].kind", "carrier-pigeon", "bluesky"]),
        (("threshold: 5", "treshold: 5"), 17, ["rules[0].treshold", "remove it"]),
        (("    measure: count\n", ""), 13, ["rules[0].measure", "add it"]),
        (('match: nova OR "nova air"', 'match: (nova OR "nova air"'), 8, ["queries[0].match"]),
        (("query: nova", "query: supernova"), 15, ["rules[0].query", "supernova", "known are nova"]),
        (("receivers: [console]", "receivers: [pager]"), 19, ["rules[0].receivers", "pager", "console"]),
        (("window: 1m", "window: soon"), 18, ["rules[0].window"]),
        (("receivers:\n  - id", "recievers:\n  - id"), 9, ["recievers", "unknown section"]),
        (("  - id: nova\n", "  - id: nova\n    id: nova2\n"), 7, ["stands twice"]),
        (("    name: Nova\n", "\t name: Nova\n"), 7, ["indentation"]),
        (("kind: rehearsal", "kind: rehearsal\n    rate: -1"), 5, ["sources[0].rate", "greater than 0"]),
    ],
)
def test_a_fault_names_line_field_and_remedy(change: tuple[str, str], line: int, words: list[str]) -> None:
    assert change[0] in GOOD
    found = "\n".join(faults(GOOD.replace(*change)))
    assert f"w.yaml:{line}: " in found, found
    for word in words:
        assert word in found, found


def test_all_faults_are_told_at_once() -> None:
    text = GOOD.replace("threshold: 5", "threshold: many").replace("kind: rehearsal", "kind: rehearsal\n    seed: x")
    assert len(faults(text)) == 2


def test_repeated_ids_are_refused() -> None:
    text = GOOD.replace("  - id: nova\n", "  - {id: nova, name: A, match: a}\n  - id: nova\n")
    assert any("'nova' stands twice" in fault for fault in faults(text))


@pytest.mark.parametrize("text", ["", "[]", "just words", "a: &x [1]\nb: *x", "\x00", "a: b: c", "x: " + "[" * 5000])
def test_what_is_no_configuration_is_refused_not_crashed_on(text: str) -> None:
    assert faults(text)


def test_too_large_a_file_is_refused() -> None:
    assert "larger than" in faults("#" * 1_048_577)[0]


def test_a_missing_file_and_a_file_in_another_encoding_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_configuration(tmp_path / "none.yaml")
    other = tmp_path / "other.yaml"
    other.write_bytes("version: 1\n# שלום".encode("cp1255"))
    with pytest.raises(ConfigurationError, match=r"other.yaml:2: not UTF-8"):
        read_configuration(other)


SECRETS = """\
version: 1
sources:
  - id: crm
    kind: webhook
    secret: {source}
    previous_secret: {previous}
receivers:
  - id: pager
    kind: webhook
    url: https://pager.example/hook
    secret: {receiver}
"""
REMEDY = "must be a reference: write env:NAME or file:/absolute/path, not the secret itself"


def test_a_secret_in_the_file_itself_is_refused_with_its_line_and_never_repeated() -> None:
    found = faults(SECRETS.format(source="whsec_aHVudGVyMg", previous="'hunter2: yes'", receiver="hunter2"))
    assert sorted(found) == [
        f"w.yaml:11: receivers[0].secret: {REMEDY}",
        f"w.yaml:5: sources[0].secret: {REMEDY}",
        f"w.yaml:6: sources[0].previous_secret: {REMEDY}",
    ]
    assert faults(SECRETS.format(source="'env:'", previous="file:relative", receiver="env:S"))[0].endswith(REMEDY)
    tagged = faults(SECRETS.format(source="!!int hunter2", previous="!mine hunter2", receiver="env:S"))
    assert not any("hunter2" in fault or "\n" in fault for fault in tagged)
    nested = SECRETS.format(source="env:S", previous="env:P", receiver="env:R") + "    more: {secrets: [hunter2]}\n"
    assert any("receivers[0].more.secrets[0]" in fault for fault in faults(nested))
    good = parse_configuration(SECRETS.format(source="env:S", previous="file:/run/p", receiver="env:R"))
    assert [source.id for source in good.sources] == ["crm"]
