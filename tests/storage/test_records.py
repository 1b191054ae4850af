"""JSON of ours: what does not follow the schema is a sentence."""

import json

import pytest

from jaxdd.errors import LARGEST_INTEGER, UserError, check_integer
from jaxdd.storage.records import (
    flag,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    one_of,
    read_json,
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
