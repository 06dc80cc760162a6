from __future__ import annotations

import pytest

from durable_objects.realtime.core.token_stream import StreamOptions, TokenStream


def test_tokens_are_numbered_and_a_newcomer_is_told_everything_in_one():
    stream = TokenStream("s", StreamOptions())
    assert stream.so_far() is None
    assert stream.say(["He", "", "llo"]) == [
        {"token": "He", "stream": "s", "index": 0},
        {"token": "llo", "stream": "s", "index": 1},
    ]
    assert stream.so_far() == {"token": "Hello", "stream": "s", "index": 0, "lastIndex": 1}
    assert stream.say(["!"]) == [{"token": "!", "stream": "s", "index": 2}]
    assert stream.text == "Hello!"
    assert stream.done("done") == {"stream": "s", "reason": "done", "tokens": 3}


def test_a_stored_stream_ends_with_its_whole_text():
    stream = TokenStream("s", StreamOptions(persist=True))
    stream.say(["a", "b"])
    assert stream.done("cancelled")["text"] == "ab"


def test_a_stream_that_is_taken_up_again_goes_on_where_it_was():
    stream = TokenStream("s", StreamOptions(), "Hello", 2)
    assert stream.say(["!"]) == [{"token": "!", "stream": "s", "index": 2}]
    assert stream.text == "Hello!"


def test_a_stream_says_no_more_than_it_may():
    stream = TokenStream("s", StreamOptions(max_characters=5))
    assert [told["token"] for told in stream.say(["abc", "def", "ghi"])] == ["abc", "de"]
    assert stream.is_full


@pytest.mark.parametrize("wrong", [{"without_viewers": "stop"}, {"viewer_grace_s": -1}, {"idle_s": 1e9}])
def test_options_that_cannot_be_meant_are_told(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="must be"):
        StreamOptions(**wrong)  # pyright: ignore[reportArgumentType]
