# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The load client's look at a connection before it uses it again."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import sys
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("load", Path(__file__).resolve().parents[1] / "load" / "load.py")
assert SPEC
assert SPEC.loader
load = importlib.util.module_from_spec(SPEC)
sys.modules["load"] = load
SPEC.loader.exec_module(load)


def test_connection_that_the_server_has_closed_is_seen_before_asyncio_knows() -> None:
    async def look() -> list[bool]:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda _reader, writer: accepted.set_result(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = load.Connection(*await asyncio.open_connection("127.0.0.1", port))
        theirs = await accepted
        found = [connection.dropped()]
        # Behind the back of the loop, which does not run again until the looks are done.
        with socket.socket(fileno=os.dup(theirs.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)
        found += [connection.reader.at_eof(), connection.dropped()]
        connection.close()
        theirs.close()
        server.close()
        return found

    assert asyncio.run(look()) == [False, False, True]
