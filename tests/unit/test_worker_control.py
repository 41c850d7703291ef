"""What a worker tells its parent: whole lines, or nothing."""

from __future__ import annotations

import json
import socket

from repo_server.worker import Control


def test_no_line_is_cut_while_the_parent_does_not_listen() -> None:
    ours, theirs = socket.socketpair()
    control = Control(theirs)
    for number in range(100):
        control.say(number=number, text="x" * 10_000)
    got = b""
    ours.settimeout(0.2)
    for last in range(200, 220):
        try:
            while block := ours.recv(1 << 16):
                got += block
        except TimeoutError:
            pass
        control.say(number=last)
    while not got.endswith(b"\n") or b'"number": 219' not in got:
        got += ours.recv(1 << 16)
    numbers = [json.loads(line)["number"] for line in got.splitlines()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0 and numbers[-1] == 219
    assert len(numbers) < 120  # some were left out, none was cut
