"""The embedded log on a disk that fails for a while, and then is well again."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from streams.embedded import EmbeddedStream
from streams.stream import Item, StreamCorrupted, StreamError

ILL_FOR_A_WHILE = """
import asyncio, json, pathlib, resource, signal, sys
from streams.embedded import EmbeddedStream
from streams.stream import Item, StreamError

def limits(size, files):
    for which, limit in ((resource.RLIMIT_FSIZE, size), (resource.RLIMIT_NOFILE, files)):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (hard if limit is None else limit, hard))

async def main():
    stream = await EmbeddedStream.open(pathlib.Path(sys.argv[1]))
    reader = await stream.consumer("t", "group")
    taken, refused, found = [], [], []
    for number in range(60):
        if number in (20, 40):
            limits(*((100_000, 3 if sys.argv[2] == "files" else None) if number == 20 else (None, None)))
        try:
            await stream.append("t", [Item(str(number), b"0" * 20_000)])
            taken.append(number)
        except StreamError as error:
            refused.append([number, str(error)])
    while part := await reader.fetch(1000, 0):
        found += [int(one.key) for one in part]
        await reader.commit(part)
    await stream.aclose()
    print(json.dumps([taken, refused, found]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main())
"""


@pytest.mark.parametrize("scarce", ["size", "files"])
async def test_appends_go_on_when_the_disk_is_well_again(tmp_path: Path, scarce: str) -> None:
    """Writes fail with EFBIG; where files are scarce too, the log can't even be opened anew meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ILL_FOR_A_WHILE, str(tmp_path / "log.db"), scarce),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    taken, refused, found = json.loads(said)
    assert [number for number, _ in refused] == list(range(20, 40))
    assert taken == [*range(20), *range(40, 60)]
    assert [number for number in found if number not in range(20, 40)] == taken
    assert sorted(set(found)) == found


async def test_a_disk_that_went_away_is_an_error_and_not_an_empty_log(tmp_path: Path) -> None:
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    stream = await EmbeddedStream.open(disk / "log.db")
    await stream.append("t", [Item("0", b"")])
    await asyncio.to_thread(disk.rename, elsewhere)
    stream._log.writer._sick = True
    with pytest.raises(StreamError, match="can't be used now"):
        await stream.append("t", [Item("1", b"")])
    assert not disk.exists()
    await asyncio.to_thread(elsewhere.rename, disk)
    await stream.append("t", [Item("1", b"")])
    assert [one.key for one in await (await stream.consumer("t", None)).fetch(9, 0)] == ["0", "1"]
    await stream.aclose()


async def test_a_file_that_forgot_what_was_acknowledged_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    stream = await EmbeddedStream.open(path)
    await stream.append("t", [Item("0", b"")])
    await stream._log.writer.submit(lambda _: None)  # behind the retention that follows the first answer
    stream._log.writer._tables.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await asyncio.to_thread(shutil.copy, path, tmp_path / "older")
    await stream.append("t", [Item("1", b"")])
    stream._log.writer._tables.connection.close()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "older").rename(path)
    with pytest.raises(StreamError):
        await stream.append("t", [Item("2", b"")])
    for _ in range(2):
        with pytest.raises(StreamCorrupted, match=r"log\.db is damaged \(t ends before what was written\); move it"):
            await stream.append("t", [Item("2", b"")])
    await stream.aclose()
