import os
from pathlib import Path

from pykbroker.storage.file_slice import FileSlice
from pykbroker.storage.files import LogFile


def test_reads_its_part(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"0123456789")
    part = FileSlice(LogFile(str(path)), 3, 4)
    assert len(part) == 4
    assert part.read() == os.pread(part.fileno(), len(part), part.position) == b"3456"
    assert part.narrowed(2).read() == b"34"


def test_keeps_a_deleted_file_open_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"0123456789")
    file = LogFile(str(path))
    fd = file.fd
    part = FileSlice(file, 0, 10)
    del file
    path.unlink()
    assert part.read() == b"0123456789"
    del part
    assert not os.path.exists(f"/proc/self/fd/{fd}")
