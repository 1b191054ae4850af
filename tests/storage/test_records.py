"""JSON of ours: what does not follow the schema is a sentence."""

import json
from dataclasses import dataclass

import pytest

from jaxdd.errors import LARGEST_INTEGER, UserError, check_integer
from jaxdd.storage.records import (
    fields_of,
    flag,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    one_of,
    parse,
    read_json,
    read_lines,
    text,
)

SCHEMA = mapping(
    steps=integer(0),
    share=number(0, 1),
    name=text(20),
    kind=one_of("a", "b"),
    done=flag,
    seed=maybe(integer()),
    sizes=list_of(integer(1), 1, 3),
    optional={"note": text()},
    others=None,
)
GOOD = {
    "steps": 3, "share": 0.5, "name": "x", "kind": "a", "done": True, "seed": None,
    "sizes": [1, 2],
}  # fmt: skip


def test_what_follows_the_schema_is_read(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(GOOD))
    assert read_json(tmp_path / "x.json", SCHEMA, "remove it") == GOOD


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("steps", True, "'steps' is True"),
        ("steps", 1.0, "whole number"),
        ("steps", -1, "whole number"),
        ("steps", 10**400, "over 50 digits"),
        ("share", 10**310, "over 50 digits"),
        ("share", "1", "finite number"),
        ("share", 2, "from 0 to 1"),
        ("name", "x" * 3000, "at most 20"),
        ("kind", "c", "'a' or 'b'"),
        ("done", 1, "true or false"),
        ("seed", [], "whole number"),
        ("sizes", [], "1 to 3 entries"),
        ("sizes", [1, 0], "'sizes[1]' is 0"),
        ("sizes", {}, "list"),
        ("other", 1, "unknown field 'other'"),
    ],
)
def test_what_does_not_is_one_short_sentence(tmp_path, name, value, says):
    (tmp_path / "x.json").write_text(json.dumps({**GOOD, name: value}))
    with pytest.raises(UserError) as caught:
        read_json(tmp_path / "x.json", SCHEMA, "remove it")
    message = str(caught.value).replace(str(tmp_path), "")
    assert says in message
    assert message.endswith("remove it")
    assert len(message) < 400


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"a":' * 200_000, b"[" * 40,
        json.dumps({**GOOD, "share": float("nan")}).encode(),
        json.dumps({k: v for k, v in GOOD.items() if k != "done"}).encode(),
    ],
)  # fmt: skip
def test_damaged_content_is_one_short_sentence(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"remove it$"):
        read_json(tmp_path / "x.json", SCHEMA, "remove it")


@pytest.mark.parametrize("value", [LARGEST_INTEGER + 1, -(2**40), 10**30, 10**4000])
def test_one_bound_for_integers(value):
    with pytest.raises(UserError, match=r"^--steps must lie between"):
        check_integer("--steps", value)
    check_integer("--steps", LARGEST_INTEGER)


@pytest.mark.parametrize("text", ["1e400", "-1e999", '{"x": [1e400]}'])
def test_a_number_that_no_float_holds_is_refused(text):
    """Or it would be an infinity, which cannot be written again."""
    with pytest.raises(ValueError, match="no float can hold"):
        parse(text, lambda value, where: None)


@dataclass
class Schedule:
    epochs: int
    rate: float = 0.1
    at: tuple[int, ...] = ()
    fresh: bool = False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"epochs": 1, "rate": 2, "at": [3], "fresh": true}', None),
        ('{"epochs": 0}', "'epochs' is 0"),
        ('{"epochs": 1.0}', "'epochs' is 1.0"),
        ('{"rate": -1}', "'rate' is -1"),
        ('{"rate": 1e31}', "'rate' is 1e\\+31"),
        ('{"at": [1.5]}', r"'at\[0\]' is 1.5"),
        ('{"fresh": 1}', "'fresh' is 1"),
        ('{"speed": 1}', "unknown field 'speed'"),
    ],
)
def test_the_fields_of_a_dataclass_are_a_schema(text, says):
    schema = mapping(optional=fields_of(Schedule, epochs=integer(1)), others=None)
    if says is None:
        assert parse(text, schema) == json.loads(text)
        return
    with pytest.raises(ValueError, match=says):
        parse(text, schema)


def test_lines_are_read_one_by_one(tmp_path):
    path, schema = tmp_path / "x.jsonl", mapping(step=integer())
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert read_lines(path, schema, "remove it") == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"step": 2')
    with pytest.raises(UserError, match=r"x.jsonl \(line 2: .*\): remove it$"):
        read_lines(path, schema, "remove it")
