# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Hold the requests that arrive while no release of an application runs, and pass them on to the next one.

A socket of this process takes the place of the old release's socket. nginx connects to it, and its requests wait in the
queue. When a release serves again, this process accepts the connections and copies bytes in both directions.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import ClassVar

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import await_turn

# The name of the socket in the folder of the sockets. No ID of a release begins with a letter.
HELD = "held.sock"
# The ending of the name under which the old release's own socket stays reachable.
COVERED = ".covered"
# The number of connections that may wait, as in the socket units of systemd. The kernel may have a lower limit.
BACKLOG = 2048
# The most connections that are passed on at a time, of one application and of all that switch in this process. The
# others wait in the queue. Each takes two of the 1024 files that a process can usually open.
MOST, MOST_OF_ALL = 256, 384
# Bytes of one direction that wait until the other side accepts them.
BUFFER = 65536
# Seconds between two looks at what has changed.
INTERVAL = 0.05


class HeldRequests:
    """The requests for one release, by the path of its socket in a folder of root."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.covered = path + COVERED
        self.listener: socket.socket | None = None
        # Where connections go; None while they have to wait.
        self.target: str | None = None
        self.relay: threading.Thread | None = None
        self.deadline: float | None = None

    @property
    def own(self) -> str:
        return os.path.join(os.path.dirname(self.path), HELD)

    def hold(self) -> bool:
        """Take the place of the release's socket; return whether there was one."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        if is_answered(self.path):
            link_over(self.path, self.covered)
        remove(self.own)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.own)
        os.chown(self.own, found.st_uid, found.st_gid)
        os.chmod(self.own, found.st_mode & 0o777)
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)
        self.place()
        return True

    def place(self) -> None:
        """Take the place again, after a process manager has removed the socket of the release."""
        if self.listener is not None:
            link_over(self.own, self.path)

    def await_accepted(self, deadline: float) -> None:
        """Wait until the release has accepted the connections that waited at its own socket."""
        await_turn(self.covered, deadline)

    def pass_on(self, target: str) -> None:
        """Pass the connections that wait, and all that arrive from now on, to another socket."""
        self.target = target
        if self.listener is not None and self.relay is None:
            self.relay = threading.Thread(target=Relay(self).run, daemon=True)
            self.relay.start()

    def wait(self) -> None:
        """Let connections wait again. Those that were passed on continue."""
        self.target = None

    def give_back(self) -> None:
        """Give a release that still runs its place back."""
        if is_answered(self.covered):
            os.replace(self.covered, self.path)

    def leads_back(self) -> bool:
        """Whether the target is still this socket itself, because no release has taken its place yet."""
        try:
            return os.path.samestat(os.stat(str(self.target)), os.stat(self.own))
        except FileNotFoundError:
            return False

    def close(self, seconds: float) -> None:
        """Finish the connections that were passed on, within this time, and remove the socket."""
        self.deadline = time.monotonic() + seconds
        if self.relay is not None:
            self.relay.join()
        if self.listener is not None:
            self.listener.close()
            remove(self.own)
            remove(self.covered)


def uncover(path: str) -> None:
    """Give a release that still runs its socket back, which an interrupted run has covered."""
    if is_answered(path + COVERED) and not is_answered(path):
        os.replace(path + COVERED, path)
    remove(path + COVERED)


def is_answered(path: str) -> bool:
    """Whether a process listens on a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except BlockingIOError:
            # Its queue is full.
            return True
        except OSError:
            return False
    return True


def link_over(path: str, place: str) -> None:
    """Give a file a second name, in place of a file that has this name. At no moment, the name is missing."""
    temporary = f"{place}.new"
    remove(temporary)
    os.link(path, temporary)
    os.replace(temporary, place)
    # The kernel replaces nothing if both names are the same file already.
    remove(temporary)


def remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


class Direction:
    """The bytes on their way from one side of a connection to the other."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.data = bytearray()
        # Whether the source has sent everything, and whether the sink knows it.
        self.ended = False
        self.over = False

    def move(self) -> None:
        """Move what can be moved. Raises OSError if the sink is gone."""
        with suppress(BlockingIOError):
            while not self.ended and len(self.data) < BUFFER:
                received = self.receive()
                self.data += received
                self.ended = not received
        with suppress(BlockingIOError):
            while self.data:
                del self.data[: self.sink.send(self.data)]
        if self.ended and not self.data and not self.over:
            self.over = True
            self.sink.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """Bytes of the source; none if it is at its end or gone. What it sent before still arrives."""
        try:
            return self.source.recv(BUFFER)
        except ConnectionError:
            return b""

    def give_up(self) -> None:
        """Move nothing more, because the sink takes nothing."""
        self.data.clear()
        self.ended = self.over = True


class Passage:
    """One connection of nginx, and the connection to the release that it is passed on to."""

    def __init__(self, visitor: socket.socket, release: socket.socket) -> None:
        self.sides = (visitor, release)
        self.directions = (Direction(visitor, release), Direction(release, visitor))

    def move(self) -> bool:
        """Move what can be moved in both directions; return whether anything may follow."""
        request, response = self.directions
        try:
            request.move()
        except OSError:
            # A release may respond and close the connection before it has read the whole body.
            request.give_up()
        try:
            response.move()
        except OSError:
            return False
        return not all(direction.over for direction in self.directions)

    def events(self, side: socket.socket) -> int:
        """The events of a side to wait for; 0 if there are none."""
        found = 0
        for direction in self.directions:
            if direction.source is side and not direction.ended and len(direction.data) < BUFFER:
                found |= selectors.EVENT_READ
            if direction.sink is side and direction.data:
                found |= selectors.EVENT_WRITE
        return found

    def close(self) -> None:
        for side in self.sides:
            side.close()


class Relay:
    """Passes the connections of a queue on, all in one thread."""

    # The passages of all relays.
    all_passages: ClassVar[set[Passage]] = set()

    def __init__(self, held: HeldRequests) -> None:
        self.held = held
        self.selector = selectors.DefaultSelector()
        self.passages: set[Passage] = set()

    def run(self) -> None:
        try:
            while not self.is_done():
                self.accept()
                # Without a connection, there is nothing to wait for but another one.
                for key, _events in self.selector.select(INTERVAL) if self.passages else ():
                    # Both sides may be ready at once, and the first may have ended the passage.
                    if key.data in self.passages:
                        self.move(key.data)
                if not self.passages:
                    time.sleep(INTERVAL / 5)
        finally:
            for passage in list(self.passages):
                self.end(passage)

    def is_done(self) -> bool:
        if self.held.deadline is None:
            return False
        waits = self.held.target is not None and self.is_waiting()
        return not (self.passages or waits) or time.monotonic() > self.held.deadline

    def is_waiting(self) -> bool:
        """Whether a connection waits in the queue."""
        # It takes no file of its own, so it also works if no more can be opened.
        with selectors.PollSelector() as selector:
            selector.register(self.held.listener, selectors.EVENT_READ)  # type: ignore[arg-type]
            return bool(selector.select(0))

    def has_room(self) -> bool:
        return len(self.passages) < MOST and len(self.all_passages) < MOST_OF_ALL

    def accept(self) -> None:
        """Pass on the connections that wait. While the release does not accept one, they stay in the queue."""
        while self.held.target is not None and self.has_room() and self.is_waiting():
            if self.held.leads_back():
                return
            with ExitStack() as opened:
                try:
                    release = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    release.setblocking(False)
                    release.connect(self.held.target)
                    visitor, _address = self.held.listener.accept()  # type: ignore[union-attr]
                except OSError:
                    return
                opened.pop_all()
            visitor.setblocking(False)
            passage = Passage(visitor, release)
            self.passages.add(passage)
            self.all_passages.add(passage)
            self.move(passage)

    def move(self, passage: Passage) -> None:
        if not passage.move():
            self.end(passage)
            return
        for side in passage.sides:
            events, known = passage.events(side), side in self.selector.get_map()
            if known and events:
                self.selector.modify(side, events, passage)
            elif known:
                self.selector.unregister(side)
            elif events:
                self.selector.register(side, events, passage)

    def end(self, passage: Passage) -> None:
        for side in passage.sides:
            with suppress(KeyError, ValueError):
                self.selector.unregister(side)
        passage.close()
        self.passages.discard(passage)
        self.all_passages.discard(passage)
