from pathlib import Path

import pytest

from pykbroker.storage.transaction_index import AbortedTransaction, TransactionIndex


def test_bytes_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "x.txnindex"
    index = TransactionIndex(str(path), exists=False)
    assert not path.exists()
    first, second = AbortedTransaction(7, 1, 5, 6), AbortedTransaction(8, 2, 9, 10)
    index.append(first)
    index.append(second)
    assert path.read_bytes()[:34].hex() == "0000" + "".join(f"{number:016x}" for number in (7, 1, 5, 6))
    assert TransactionIndex(str(path), exists=True).entries == [first, second]
    index.truncate_to(9)
    assert TransactionIndex(str(path), exists=True).entries == index.entries == [first]


@pytest.mark.parametrize("content", [bytes(33), b"\0\1" + bytes(32)])
def test_what_cannot_be_right(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.txnindex"
    path.write_bytes(content)
    index = TransactionIndex(str(path), exists=True)
    with pytest.raises(ValueError, match="txnindex"):
        _ = index.entries
    index.start_rebuild()
    assert index.entries == []
    assert not path.exists()
