from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from disco.core.weights import Float32s, Weights
from disco.errors import StorageError
from disco.storage import files, uncached
from disco.storage.files import Kept

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
TENSOR = arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32))


@given(st.lists(TENSOR, max_size=4))
def test_the_bytes_of_weights_are_their_float32_values_in_order(
    tensors: list[Float32s],
) -> None:
    expected = b"".join(tensor.tobytes() for tensor in tensors)
    assert b"".join(files.chunks_of(Weights.from_arrays(tensors))) == expected


def test_the_bytes_of_strided_tensors_are_their_values() -> None:
    every_other = np.arange(8, dtype=np.float32)[::2]
    strided = Weights(((4,),), (every_other,))
    assert b"".join(files.chunks_of(strided)) == every_other.tobytes()


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_the_checksum_does_not_depend_on_the_cut(chunks: list[bytes]) -> None:
    assert files.checksum(chunks) == files.checksum([b"".join(chunks)])


def test_a_kept_file_is_named_by_its_content(tmp_path: Path) -> None:
    kept = files.keep(tmp_path, "model", ".bin", [b"123", b"456789"])
    assert kept == Kept(9, 0xCBF43926)  # the check value of CRC-32/ISO-HDLC
    assert (tmp_path / "model-cbf43926.bin").read_bytes() == b"123456789"


@pytest.mark.parametrize("sizes", [[], [0], [1_500_001], [300_000] * 7, [10, 2_000_000, 0, 10]])
def test_a_file_that_is_written_in_pieces_is_whole(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [np.random.default_rng(size).bytes(size) for size in sizes]
    kept = files.keep(tmp_path, "1", ".f32", [memoryview(chunk) for chunk in chunks])
    assert kept == Kept(sum(sizes), files.checksum(chunks))
    assert files.read(tmp_path / kept.name("1", ".f32"), kept).tobytes() == b"".join(chunks)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_kept_where_the_disk_takes_no_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    kept = files.keep(tmp_path, "1", ".f32", [bytes(1_000_000)])
    monkeypatch.delattr(os, "posix_fadvise")
    assert kept == files.keep(tmp_path, "1", ".f32", [bytes(1_000_000)])


# ── past the page cache ──────────────────────────────────────────────────────────────────────────────────

PIECE = uncached.PIECE_BYTES
needs_uncached = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system always caches")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large."""
    monkeypatch.setattr(files, "UNCACHED_BYTES", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "sizes",
    [[], [1], [4096], [4097], [PIECE], [PIECE + 1], [PIECE - 1, 2, PIECE], [0, 5000, 0, 3 * PIECE + 4095]],
)
def test_a_large_file_is_whole_whatever_its_size(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [np.random.default_rng(size).bytes(size) for size in sizes]
    kept = files.keep(tmp_path, "1", ".f32", [memoryview(chunk) for chunk in chunks])
    assert kept == Kept(sum(sizes), files.checksum(chunks))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"".join(chunks)]


@needs_uncached
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_large_file_is_kept_where_the_system_cannot_write_past_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    content, write, calls = np.random.default_rng(0).bytes(3 * PIECE + 1), os.write, iter(range(9))

    def refuse(descriptor: int, data: memoryview) -> int:
        if next(calls) == written:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", refuse)
    kept = files.keep(tmp_path, "1", ".f32", [content])
    assert files.read(tmp_path / kept.name("1", ".f32"), kept).tobytes() == content


@needs_uncached
@pytest.mark.usefixtures("large")
def test_a_large_file_for_which_there_is_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        files.keep(tmp_path, "1", ".f32", [bytes(5000)])
    assert not list(tmp_path.iterdir())


@needs_uncached
@pytest.mark.usefixtures("large")
def test_a_write_that_is_cut_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, write = np.random.default_rng(0).bytes(PIECE + 1), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:8192]))
    kept = files.keep(tmp_path, "1", ".f32", [content])
    assert files.read(tmp_path / kept.name("1", ".f32"), kept).tobytes() == content


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"12345678", "8 bytes instead of 9"),
        (b"1234567890", "10 bytes instead of 9"),
        (b"123456780", "checksum"),
        (b"", "0 bytes"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_not_as_it_was_kept_is_refused_by_name(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    kept = files.keep(tmp_path, "1", ".f32", [b"123456789"])
    path = tmp_path / kept.name("1", ".f32")
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StorageError, match=f"{path.name}.*{complaint}"):
        files.read(path, kept)


def test_replacing_leaves_the_old_file_when_its_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(b"old")
    with suppress(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"ne")
        raise ZeroDivisionError
    assert [found.name for found in tmp_path.iterdir()] == ["model.json"]
    assert path.read_bytes() == b"old"


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    files.make_directory(tmp_path / "a" / "b" / "c")
    files.make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_where_a_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match="taken cannot be made"):
        files.make_directory(tmp_path / "taken")


def test_what_cannot_be_removed_is_logged_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with caplog.at_level(logging.WARNING, "disco.storage"):
        assert not files.discard(tmp_path / "1.f32")
    assert "1.f32" in caplog.text
