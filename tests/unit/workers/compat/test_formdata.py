from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.compat.blob import Blob, File
from workers.compat.formdata import FormData, encode_multipart, parse_form
from workers.compat.proxies import JsTypeError

# "%22" in a name reads back as a quotation mark, in browsers too.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%"), max_size=12)


def part(disposition: str, content: str, extra: str = "") -> str:
    return f"--B\r\nContent-Disposition: {disposition}\r\n{extra}\r\n{content}\r\n"


def parse(body: str) -> FormData:
    return parse_form(body.encode(), "multipart/form-data; boundary=B")


def test_a_file_part_keeps_name_type_and_content():
    body = part('form-data; name="f"; filename="a.txt"', "hi", "Content-Type: text/plain\r\n")
    form = parse(body + part('form-data; name="t"', "v") + "--B--\r\n")
    upload = form.get("f")
    assert isinstance(upload, File)
    assert (upload.name, upload.type, upload.data, form.get("t")) == ("a.txt", "text/plain", b"hi", "v")


def test_line_ends_and_dashes_inside_a_part_belong_to_it():
    form = parse(part('form-data; name="t"', "a\r\n--C\r\n\r\n--b") + "--B--")
    assert form.get("t") == "a\r\n--C\r\n\r\n--b"


def test_a_preamble_and_an_epilogue_are_ignored():
    assert parse("hello\r\n" + part('form-data; name="t"', "v") + "--B--\r\nbye").get("t") == "v"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("nothing here", "No initial boundary"),
        ("--Bx\r\n\r\nv\r\n--B--", "No CRLF after boundary"),
        (part("inline", "v") + "--B--", 'must have the value "form-data"'),
        (part("form-data", "v") + "--B--", 'must have a "name" parameter'),
        (part('form-data; name="t"', "v"), "ended before its closing boundary"),
    ],
)
def test_malformed_bodies_are_refused_with_a_reason(body: str, message: str):
    with pytest.raises(JsTypeError, match=message):
        parse(body)


def test_a_multipart_type_needs_a_boundary():
    with pytest.raises(JsTypeError, match="No boundary string"):
        parse_form(b"", "multipart/form-data")
    assert len(parse_form(b"--a b--\r\n", 'multipart/form-data; boundary="a b"')) == 0


def test_entries_can_be_replaced_and_removed():
    form = FormData([("a", "1"), ("b", "2"), ("a", "3")])
    form.set("a", 9)
    form.append("c", Blob(["x"]), "n.bin")
    form.delete("b")
    assert form.keys() == ["a", "c"]
    assert (form.get("a"), form.getAll("a"), form.get("c").name) == ("9", ["9"], "n.bin")


@given(st.lists(st.tuples(TEXT, TEXT | st.binary(max_size=20).map(lambda data: File([data], "x.bin"))), max_size=5))
def test_what_is_encoded_parses_back(entries: list[tuple[str, str | File]]):
    body, kind = encode_multipart(FormData(entries))
    again = parse_form(body, kind)
    assert again.keys() == [name for name, _ in entries]
    for (_, sent), got in zip(entries, again.values(), strict=True):
        assert (got.data if isinstance(got, File) else got) == (sent.data if isinstance(sent, File) else sent)
