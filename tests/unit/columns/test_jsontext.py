"""Data as JSON text: kept as it was meant, refused by name, compared by value."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awvault.columns import jsontext
from awvault.errors import InvalidInputError, LimitError

KIB = 1024
BIG = 10**300 + 1

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{}", b"{}"),
        (b' {\n "b" : 1 , "a" : [ 2 , null ] } ', b'{"b":1,"a":[2,null]}'),
        (b'{"a":1,"b":2,"a":3}', b'{"a":3,"b":2}'),
        (b'{"a":"\\u00e9\\/\\n"}', '{"a":"é/\\n"}'.encode()),
        ('{"a":"é"}'.encode(), '{"a":"é"}'.encode()),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'.encode()),
        (b'{"a":"\\ud83d"}', b'{"a":"\\ud83d"}'),
        (b'{"\\ude00":"\\ude00\\ud83d"}', b'{"\\ude00":"\\ude00\\ud83d"}'),
        ('{"é":"\\ud83d\\u0001"}'.encode(), '{"é":"\\ud83d\\u0001"}'.encode()),
        (b'{"a":-0.0,"b":-0}', b'{"a":-0.0,"b":0}'),
        (b'{"a":%d}' % BIG, b'{"a":%d}' % BIG),
        (b'{"a":%d,"b":"\\ud83d"}' % -BIG, b'{"a":%d,"b":"\\ud83d"}' % -BIG),
        (b'{"":{"":[]}}', b'{"":{"":[]}}'),
    ],
)
def test_text_is_made_compact(raw: bytes, expected: bytes) -> None:
    """White space goes; keys keep their order, integers their digits, halves stay."""
    assert jsontext.compact(raw) == expected
    assert jsontext.compact(expected) == expected
    assert jsontext.are_objects([expected])


@given(OBJECTS, st.booleans())
def test_values_survive(value: dict[str, Any], ascii_only: bool) -> None:
    """Whatever JSON says comes back: values, types, and the order of keys."""
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=1)
    # Both halves of a pair, next to each other, are one character to JSON.
    value = json.loads(json.dumps(value))

    text = jsontext.compact(raw.encode("utf-8", "backslashreplace"))

    assert repr(jsontext.decode(text)) == repr(value)
    assert jsontext.compact(text) == text
    assert jsontext.are_objects([text, b"{}", text])
    assert text.decode("utf-8")


@pytest.mark.parametrize(
    ("raw", "field", "message"),
    [
        (b"", "data", "not valid JSON"),
        (b"{", "data", "not valid JSON"),
        (b"{} x", "data", "not valid JSON"),
        (b"{'a':1}", "data", "not valid JSON"),
        (b'{"a":01}', "data", "not valid JSON"),
        (b'{"a":"\n"}', "data", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "data", "not valid JSON"),
        (b'{"a":"\xff"}', "data", "byte 6 is not"),
        (b'{"a":"\xed\xa0\xbd"}', "data", "UTF-8"),
        ("{}".encode("utf-16-le"), "data", "not valid JSON"),
        (b"null", "data", "expected an object, got null"),
        (b"true", "data", "expected an object, got a boolean"),
        (b"1", "data", "expected an object, got a number"),
        (b'"x"', "data", "expected an object, got a string"),
        (b'"\\ud83d"', "data", "expected an object, got a string"),
        (b"[{}]", "data", "expected an object, got an array"),
        (b'{"a":NaN}', "data.a", "NaN"),
        (b'{"a":{"b":[1,-Infinity]}}', "data.a.b[1]", "Infinity"),
        (b'{"a":[[],{"c":1e400}]}', "data.a[1].c", "1.8e308"),
        (b'{"\\ud83d":1e400}', "data.\\ud83d", "1.8e308"),
    ],
)
def test_what_cannot_be_kept_is_refused(raw: bytes, field: str, message: str) -> None:
    """The error names the place inside of the data."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        jsontext.compact(raw)
    assert caught.value.field == field


def nested(depth: int) -> bytes:
    """Return an object with arrays inside, `depth` deep in all."""
    return b'{"a":%b%b}' % (b"[" * (depth - 1), b"]" * (depth - 1))


@pytest.mark.parametrize(
    "raw",
    [
        nested(65),
        nested(1_000),
        nested(100_000),
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"x":"\\ud83d","a":%b%b}' % (b"[" * 64, b"]" * 64),
        b'{"a":"%b"}' % (b"x" * 256 * KIB),
        b'{"a":[%b1]}' % (b"1e5," * 40 * KIB),
        b" " * 1024 * KIB + b"{}",
        b'{"a":%b}' % (b"9" * 4301),
    ],
    ids=lambda raw: f"{raw[:12]!r}-{len(raw)}",
)
def test_what_is_too_much_is_refused(raw: bytes) -> None:
    """Depth, bytes and digits have limits."""
    with pytest.raises(LimitError):
        jsontext.compact(raw)


@pytest.mark.parametrize(
    "raw",
    [
        nested(64),
        b'{"a":"%b"}' % (b"[" * 200),
        b'{"a":[%b[]]}' % (b"[]," * 200),
        b'{"a":"%b"}' % (b"x" * (256 * KIB - 8)),
        b'{"a":%b}' % (b"9" * 4300),
        b'{"a":"%b"}' % (b"\\u00e9" * 100 * KIB),
    ],
    ids=lambda raw: f"{raw[:12]!r}-{len(raw)}",
)
def test_up_to_the_limits_all_is_kept(raw: bytes) -> None:
    """A limit is the last value that is taken, and counts what is kept."""
    assert json.loads(jsontext.compact(raw)) == json.loads(raw)
    assert jsontext.are_objects([jsontext.compact(raw)])


def test_what_is_repeated_of_a_place_is_short() -> None:
    """A sender's keys are repeated in an error to a length that a log can bear."""
    with pytest.raises(InvalidInputError) as caught:
        jsontext.compact(b'{"%b":{"b":NaN}}' % (b"k" * 5_000))
    assert len(caught.value.field) <= 100


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":0}', b'{"a":-0.0}'),
        (b'{"a":%d}' % 2**70, b'{"a":%r.0}' % 2**70),
        (b'{"a":{"x":[1,{"y":2,"z":3}]}}', b'{"a":{"x":[1.0,{"z":3,"y":2}]}}'),
        (b'{"a":"\\ud83d"}', b'{"a":"\\ud83d"}'),
        ('{"a":"é"}'.encode(), b'{"a":"\\u00e9"}'),
    ],
)
def test_equal_values_have_equal_keys(one: bytes, other: bytes) -> None:
    """The order of keys and the spelling of numbers are of no account."""
    assert jsontext.equality_key(one) == jsontext.equality_key(other)
    assert len({jsontext.equality_key(one), jsontext.equality_key(other)}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":0}', b'{"a":false}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":null}', b'{"a":"null"}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":[]}', b'{"a":{}}'),
        (b'{"a":["b",true]}', b'{"a":true}'),
        (b'{"a":["[",1]}', b'{"a":[1]}'),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":[["x",1]]}', b'{"a":{"x":1}}'),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992.0}'),
        (b'{"a":"\\ud83d"}', b'{"a":"\\\\ud83d"}'),
    ],
)
def test_other_values_have_other_keys(one: bytes, other: bytes) -> None:
    """Types count, and so does every digit of an integer."""
    assert jsontext.equality_key(one) != jsontext.equality_key(other)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal in JSON: true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


SMALL = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, "", "1", "b", "[", "{"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["", "b", "["]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(SMALL, SMALL)
def test_keys_are_equal_exactly_if_values_are(one: Any, other: Any) -> None:
    """Compared with the plain definition, over small values that nearly collide."""
    keys = [
        jsontext.equality_key(json.dumps({"a": value}).encode())
        for value in (one, other)
    ]

    assert (keys[0] == keys[1]) is same(one, other)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{}}",
        b"{}{}",
        b" {}",
        b"{} ",
        b"[]",
        b'{"a":tru}',
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\xbd"}',
        b'{"a":"\\ud8"}',
        b'{"a":"\\ud83d",}',
        b'{"a":"\\ud83d"} ',
        b'{"a":"\\ud83d","b":NaN}',
        "{}".encode("utf-16-le"),
        nested(65),
        nested(100_000),
    ],
    ids=lambda raw: f"{raw[:12]!r}-{len(raw)}",
)
def test_text_that_is_no_object_is_found_among_others(text: bytes) -> None:
    """Wherever it stands: first, last, or between."""
    good = b'{"a":"\\ud83d"}'

    assert jsontext.are_objects([good, b"{}", good])
    for texts in ([text], [text, good], [b"{}", text], [b"{}", text, b"{}"]):
        assert not jsontext.are_objects(texts)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"' + b"[" * 1000 + b'"}',
        b'{"a":"\\"' + b"{" * 1000 + b'\\\\","b":[' + b"[]," * 999 + b"[]]}",
        b'{"' + b"[" * 65 + b'":{"\\ud83d":[' + b"{}," * 999 + b"{}]}}",
        nested(64),
    ],
    ids=["in a string", "escaped quotes", "in a name", "64 deep"],
)
def test_only_brackets_that_are_open_at_once_make_depth(text: bytes) -> None:
    """However many there are side by side, or inside strings."""
    assert jsontext.are_objects([text])


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"' + b"]" * 1000 + b'","b":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":"\\"' + b"]" * 1000 + b'","b":' + b"[" * 64 + b"]" * 64 + b"}",
    ],
    ids=["closed in a string", "behind an escaped quote"],
)
def test_brackets_inside_strings_do_not_hide_depth(text: bytes) -> None:
    """What looks like a closing bracket in a string closes nothing."""
    assert not jsontext.are_objects([text])


@given(
    st.lists(
        st.one_of(
            OBJECTS.map(json.dumps).map(str.encode),
            st.sampled_from(
                [
                    b'{"a":1e400}',
                    b'{"a":NaN}',
                    b'{},{"a":[1',
                    b"{}]}",
                    b"[]",
                    b"",
                    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
                    b'{"t":"\\ud83d"}',
                    b'{"a":"' + b"x" * 300 * KIB + b'"}',
                ]
            ),
        ),
        max_size=4,
    )
)
def test_many_are_compacted_as_each_would_be(raws: list[bytes]) -> None:
    """The same texts; of several, the wrong one is named."""
    wrong = []
    for at, raw in enumerate(raws):
        try:
            jsontext.compact(raw)
        except InvalidInputError as error:
            wrong.append((at, error))
    if not wrong:
        assert jsontext.compact_many(raws) == [jsontext.compact(raw) for raw in raws]
        return
    at, first = wrong[0]
    with pytest.raises(type(first)) as caught:
        jsontext.compact_many(raws)
    assert caught.value.field == f"[{at}].{first.field}"
    assert str(caught.value) == str(first)


def test_texts_that_are_objects_only_together_are_none() -> None:
    """Each text is read by itself."""
    assert not jsontext.are_objects([b'{},{"a":[1', b"{}]}"])
    assert not jsontext.are_objects([b'{"a":"', b'"}'])
    assert jsontext.are_objects([])


def test_reading_back_what_is_no_object_is_an_error() -> None:
    """Text from elsewhere is refused like text from a client."""
    with pytest.raises(InvalidInputError, match="got an array"):
        jsontext.decode(b"[]")
    with pytest.raises(InvalidInputError):
        jsontext.equality_key(b"{")
    assert math.isinf(jsontext.decode(b'{"a":1e400}')["a"])


@given(VALUES)
def test_any_value_is_kept_as_it_was_meant(value: Any) -> None:
    """As an object would be, and it reads back as what was sent."""
    text = jsontext.compact_value(json.dumps(value).encode())

    assert jsontext.compact(b'{"a":%b}' % text) == b'{"a":%b}' % text
    assert jsontext.equality_key(b'{"a":%b}' % text) == jsontext.equality_key(
        json.dumps({"a": value}).encode()
    )
    if isinstance(value, dict):
        assert jsontext.encode(jsontext.decode(text)) == text


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (b"1 2", InvalidInputError, "not valid JSON: it breaks at character 2"),
        (b"NaN", InvalidInputError, "NaN, Infinity"),
        (b"[" * 65 + b"]" * 65, LimitError, "nested too deeply"),
        (b'"%b"' % (b"x" * 256 * KIB), LimitError, "at most 262144 are kept"),
        (b" " * (1024 * KIB) + b"1", LimitError, "at most 1048576 are kept"),
    ],
)
def test_a_value_that_cannot_be_kept_is_refused(
    raw: bytes, error: type[InvalidInputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        jsontext.compact_value(raw)
