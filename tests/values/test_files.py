"""Files as values: what identifies them, and what is remembered of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weft.values.content import decode, digest, encode
from weft.values.files import File, files_in, keeping


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("abc")
    return tmp_path / "a.txt"


def test_it_comes_back_with_what_was_seen(path: Path) -> None:
    data = encode({"file": File(path)})
    found = decode(data, trust=False)["file"]
    assert found == File(path)
    assert found.seen[:2] == (3, path.stat().st_mtime_ns) and found.checksum == File(path).checksum
    assert not found.changed
    os.utime(path, (1, 1))
    assert found.changed == "changed"
    path.unlink()
    assert found.changed == "gone"
    assert encode(found) == encode(decode(encode(found)))


def test_path_and_content_identify_it_and_time_does_not(path: Path) -> None:
    before = digest(File(path))
    assert digest(decode(encode(File(path)))) == before
    os.utime(path, (1, 1))
    assert digest(File(path)) == before == digest(File(path, keep="copy"))
    path.write_text("abd")
    os.utime(path, (1, 1))
    assert digest(File(path)) != before
    copy = path.with_name("b.txt")
    copy.write_text("abd")
    assert digest(File(copy)) != digest(File(path))


def test_a_file_that_cannot_be_read_cannot_be_stored(path: Path) -> None:
    for bad in (path.with_name("gone"), path.parent):
        with pytest.raises(
            TypeError, match=r"value\[0\] \(a File\) cannot be stored: the file .* cannot be read"
        ):
            encode([File(bad)])


def test_only_copies_that_were_asked_for_are_made_and_once(path: Path) -> None:
    made: list[str] = []

    def keep(name: str, checksum: str) -> str:
        made.append(name)
        return f"artifacts/{checksum}/a.txt"

    with keeping(keep):
        encode(File(path))
        kept = decode(encode(File(path, keep="copy")))
        encode(kept)
    assert made == [str(path)] and kept.kept.startswith("artifacts/")
    assert os.fspath(kept) == str(path)  # no run directory that is known here holds the copy


def test_files_are_found_inside_of_values(path: Path) -> None:
    file = File(path)
    assert list(files_in([1, (file, {"a": file}), "text"])) == [file, file]
