"""One of the processes of `pipeline/crew`: answers messages until its input ends."""

from __future__ import annotations

import os
import signal
import sys
from typing import IO

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.pipeline.crew import Sealed, Setup, Wire, read_message, write_message
from edurise_backup.pipeline.small_files import SealSettings, SmallFiles
from edurise_backup.ports import FileState


def main(messages: IO[bytes], answers: IO[bytes]) -> None:
    """Read batches of files and seal what is wanted of them."""
    first = read_message(messages)
    if first is None:
        return
    setup = msgspec.msgpack.decode(first, type=Setup)
    key = MasterKey(encrypt=setup.encrypt, mac_k=setup.mac_k, mac_r=setup.mac_r)
    small_files = SmallFiles(key, SealSettings(setup.level, setup.check))
    while (batch := read_message(messages)) is not None:
        files = [FileState(os.fsdecode(path), *rest) for path, *rest in msgspec.msgpack.decode(batch, type=list[Wire])]
        write_message(answers, small_files.read(files))
        wanted = read_message(messages)
        if wanted is None:
            return
        write_message(answers, _sealed(small_files, msgspec.msgpack.decode(wanted, type=list[bool])))


def _sealed(small_files: SmallFiles, wanted: list[bool]) -> Sealed:
    try:
        return Sealed([(blob.sealed, blob.raw_length, blob.plain_length) for blob in small_files.seal(wanted)])
    except DamageError as error:
        return Sealed([], error.message)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the backup, which then ends our input
    try:
        main(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # the backup was stopped, and with it whoever reads our answers
        os._exit(0)
