"""Held ports cannot be taken by anybody else until they are released."""

import socket

import pytest

from comity_local.ports import RANGE, HeldPorts


def test_two_demos_side_by_side_get_different_ports() -> None:
    with HeldPorts(50) as ours, HeldPorts(50) as theirs:
        assert len({*ours.numbers, *theirs.numbers}) == 100
        assert all(port in RANGE for port in ours.numbers)


def test_a_held_port_cannot_be_bound_and_a_released_one_can() -> None:
    with HeldPorts(1) as ports, socket.socket() as other:
        (port,) = ports.numbers
        with pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
        ports.release(port)
        other.bind(("127.0.0.1", port))
