"""Batches are made of what arrives together, in turn, and a job ends by itself only."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pytest

from speechllama.serve.batcher import Batcher

Made = Batcher[str, str]


class Words:
    """A recording of words: each is a piece. "!" cannot be read, "?" cannot be decoded, "#" is fatal."""

    def __init__(self, words: str) -> None:
        self.words, self.num_closed, self.num_read = words.split(), 0, 0

    def __iter__(self) -> Iterator[str]:
        for word in self.words:
            if word == "!":
                raise ValueError("bad in the middle")
            self.num_read += 1
            yield word

    def close(self) -> None:
        self.num_closed += 1


class Decoder:
    """Writes words in capitals, one batch whenever it is let."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.may_go, self.has_begun = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, pieces: Sequence[str]) -> list[str]:
        self.batches.append(" ".join(pieces))
        self.has_begun.release()
        assert self.may_go.acquire(timeout=10)
        if "?" in pieces:
            raise RuntimeError("no kernel for this shape")
        if "#" in pieces:
            raise MemoryError("the GPU is lost")
        return [piece.upper() for piece in pieces]

    def go(self, times: int = 1) -> None:
        self.may_go.release(times)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def batcher(decoder: Decoder) -> Iterator[Made]:
    """A batcher of three pieces that decodes only when `decoder.go` lets it, with `first` in work."""
    made: Made = Batcher(decoder, 3, 0.0, lambda error: isinstance(error, MemoryError))
    yield made
    decoder.go(100)
    made.close()


def occupy(batcher: Made, decoder: Decoder) -> Future[list[str]]:
    """Keep the thread busy with a piece, so that what comes next arrives together."""
    future = batcher.submit(Words("first"))
    assert decoder.has_begun.acquire(timeout=10)
    return future


def test_what_arrives_together_is_one_batch_and_each_gets_its_own_results(batcher: Made, decoder: Decoder) -> None:
    occupy(batcher, decoder)
    sources = [Words("a b"), Words(""), Words("c"), Words("d")]
    futures = [batcher.submit(source) for source in sources]
    decoder.go(3)
    assert [future.result(10) for future in futures] == [["A", "B"], [], ["C"], ["D"]]
    assert decoder.batches == ["first", "a c d", "b"]
    assert [source.num_closed for source in sources] == [1] * 4


def test_a_long_recording_does_not_block_a_short_one_and_is_not_read_at_once(batcher: Made, decoder: Decoder) -> None:
    long = Words(" ".join(map(str, range(20))))
    slow = batcher.submit(long)
    assert decoder.has_begun.acquire(timeout=10)
    assert decoder.batches == ["0 1 2"] and long.num_read == 4
    short = batcher.submit(Words("short"))
    decoder.go(2)
    assert short.result(10) == ["SHORT"] and not slow.done()
    assert decoder.batches[1] == "3 short 4"
    decoder.go(10)
    assert slow.result(10) == [str(number) for number in range(20)]


def test_a_piece_that_cannot_be_decoded_fails_its_own_job_only(batcher: Made, decoder: Decoder) -> None:
    occupy(batcher, decoder)
    good, bad, other = (batcher.submit(Words(words)) for words in ("a", "b ?", "c"))
    decoder.go(20)
    assert (good.result(10), other.result(10)) == (["A"], ["C"])
    with pytest.raises(RuntimeError, match="no kernel"):
        bad.result(10)
    assert batcher.submit(Words("later")).result(10) == ["LATER"]


def test_after_an_error_the_pieces_of_the_batch_are_decoded_one_by_one(batcher: Made, decoder: Decoder) -> None:
    occupy(batcher, decoder)
    good, bad = batcher.submit(Words("a")), batcher.submit(Words("? never"))
    decoder.go(20)
    with pytest.raises(RuntimeError, match="no kernel"):
        bad.result(10)
    assert good.result(10) == ["A"]
    assert decoder.batches == ["first", "a ? never", "a", "?"]  # the rest of the failed one is left out


def test_a_recording_that_is_bad_in_the_middle_fails_and_is_closed(batcher: Made, decoder: Decoder) -> None:
    occupy(batcher, decoder)
    bad, source = Words("a b ! c"), Words("x y")
    failed, good = batcher.submit(bad), batcher.submit(source)
    decoder.go(20)
    with pytest.raises(ValueError, match="bad in the middle"):
        failed.result(10)
    assert good.result(10) == ["X", "Y"] and (bad.num_closed, source.num_closed) == (1, 1)


def test_a_dropped_job_is_neither_read_nor_decoded_further(batcher: Made, decoder: Decoder) -> None:
    occupy(batcher, decoder)
    source, unread = Words("a b c d e f"), Words("u")
    dropped, never = batcher.submit(source), batcher.submit(unread)
    assert never.cancel()
    decoder.go()
    assert decoder.has_begun.acquire(timeout=10)
    assert dropped.cancel()
    after = batcher.submit(Words("after"))
    decoder.go(2)
    assert after.result(10) == ["AFTER"]
    assert decoder.batches == ["first", "a b c", "after"]
    assert (source.num_closed, unread.num_closed, unread.num_read) == (1, 1, 0)
    with pytest.raises(CancelledError):
        dropped.result(0)


def test_closing_finishes_what_is_queued_and_accepts_nothing_more(decoder: Decoder) -> None:
    batcher: Made = Batcher(decoder, batch_size=2, max_wait=60.0)  # more seconds than the test takes
    futures = [batcher.submit(Words(word)) for word in ("a", "b", "c")]
    decoder.go(10)
    batcher.close()
    assert [future.result(0) for future in futures] == [["A"], ["B"], ["C"]]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(Words("d"))


@pytest.mark.parametrize("words", ["# y z", "? #"])  # fatal at once; or when its batch is decoded one by one
def test_a_fatal_error_ends_all_jobs_and_nothing_more_is_decoded(batcher: Made, decoder: Decoder, words: str) -> None:
    first = occupy(batcher, decoder)
    sources = [Words("a b c d"), *(Words(word) for word in words.split()), Words("waits")]
    futures = [batcher.submit(source) for source in sources]
    decoder.go(20)
    assert first.result(10) == ["FIRST"]
    errors = [type(future.exception(10)) for future in futures]
    assert errors == [RuntimeError if word == "?" else MemoryError for word in ["a", *words.split(), "waits"]]
    assert isinstance(batcher.failure, MemoryError)
    num_batches = len(decoder.batches)
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(late := Words("late"))
    batcher.close()
    assert len(decoder.batches) == num_batches and decoder.batches[-1].split()[-1] in "#y"
    assert [source.num_closed for source in [*sources, late]] == [1] * (len(sources) + 1)


def test_a_batch_that_is_not_full_waits_for_others(decoder: Decoder) -> None:
    batcher: Made = Batcher(decoder, batch_size=2, max_wait=60.0)
    decoder.go(10)
    first, second = batcher.submit(Words("a")), batcher.submit(Words("b"))
    assert (first.result(10), second.result(10)) == (["A"], ["B"])
    assert decoder.batches == ["a b"]
    batcher.close()
