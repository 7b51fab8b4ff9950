"""Manifests are read as kubectl reads them, and every value knows its line."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slipway.manifest import Document, ManifestSyntaxError, is_plain_text, read_documents

pytestmark = pytest.mark.unit


def read(text: str) -> list[Document]:
    return list(read_documents("model.yaml", text))


def value_of(text: str) -> Any:
    (document,) = read(text)
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("y", True),
        ("2024-01-01", "2024-01-01"),
        ("22:22", "22:22"),
        ("1e3", 1000),
        ("1.5", 1.5),
        ("0644", 420),
        ("0x1F", 31),
        ("1_000", 1000),
        ("08", 8),
        ("~", None),
        ("'yes'", "yes"),
        ("1.2.3", "1.2.3"),
        ("500m", "500m"),
    ],
)
def test_a_scalar_means_what_it_means_to_kubectl_when_it_is_plain(text: str, value: Any) -> None:
    found = value_of(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


def test_a_key_becomes_text_when_yaml_sees_a_boolean_or_a_number() -> None:
    assert value_of("on: a\n1: b\n~: c") == {"true": "a", "1": "b", "null": "c"}


def test_every_value_knows_its_line_when_asked_by_path() -> None:
    (document,) = read("spec:\n  artifact:\n    uri: a\n  env:\n  - name: A\n    value: b\n  - name: B\n")
    assert document.line(("spec", "artifact", "uri")) == 3
    assert document.line(("spec", "env", 0, "value")) == 6
    assert document.line(("spec", "env", 1)) == 7


def test_the_line_of_what_surrounds_it_is_given_when_a_value_is_missing() -> None:
    (document,) = read("spec:\n  artifact:\n    format: Auto\n")
    assert document.line(("spec", "artifact", "uri")) == 2


def test_documents_are_numbered_and_empty_ones_left_out_when_a_file_holds_several() -> None:
    documents = read("a: 1\n---\n# nothing\n---\nb: 2\n")
    assert [(document.number, document.value, document.line(())) for document in documents] == [
        (1, {"a": 1}, 1),
        (3, {"b": 2}, 5),
    ]


def test_items_come_one_by_one_with_their_own_lines_when_the_document_is_a_list() -> None:
    documents = read("apiVersion: v1\nkind: List\nitems:\n- a: 1\n- b:\n    c: 2\n")
    assert [document.value for document in documents] == [{"a": 1}, {"b": {"c": 2}}]
    assert documents[1].line(("b", "c")) == 6


def test_a_key_given_twice_is_named_with_both_lines_when_found() -> None:
    (document,) = read("spec:\n  replicas: 1\n  replicas: 2\n")
    (problem,) = document.duplicates
    assert str(problem) == "spec.replicas: given twice, first on line 2. Remove one of the two."


def test_a_merged_key_is_no_duplicate_when_it_is_overridden() -> None:
    (document,) = read("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  a: 3\n")
    assert document.value["mine"] == {"a": 3, "b": 2}
    assert not document.duplicates


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: c: d\n", 2, 5, "mapping values are not allowed here"),
        ("a:\n\t- b\n", 2, 1, "'\\t'"),
        ("a: [1, 2\nb: 3", 2, 2, "expected ',' or ']'"),
        ("a: *nope", 1, 4, "undefined alias 'nope'"),
        ("a: !secret 1", 1, 4, "!secret"),
        ("&a [*a]", 1, 1, "contains itself"),
        ("a: b\nc: \x01", 2, 4, "not allowed"),
        ("[" * 5000, 1, 1, "nested too deeply"),
    ],
)
def test_a_syntax_error_tells_line_and_column_when_the_text_is_no_yaml(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(ManifestSyntaxError, match=r".+") as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in str(caught.value)


def test_documents_before_a_syntax_error_are_given_out_when_a_later_one_breaks() -> None:
    documents = read_documents("model.yaml", "a: 1\n---\nb: c: d\n")
    assert next(documents).value == {"a": 1}
    with pytest.raises(ManifestSyntaxError):
        next(documents)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12))
def test_text_reads_back_unchanged_when_it_is_called_plain(text: str) -> None:
    dumped = yaml.safe_dump({"key": text}, default_style=None if is_plain_text(text) else "'", allow_unicode=True)
    assert value_of(dumped) in ({"key": text}, {"true": text}, {"false": text})
