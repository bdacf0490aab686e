"""Held ports cannot be taken by anybody else until they are released."""

import socket

import pytest

from comity_common.errors import Problem
from comity_host.ports import RANGE, HeldPorts, check_free


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


def test_a_port_at_which_somebody_listens_is_a_problem_that_names_it_and_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Problem, match=f"cannot listen on {address}, which is gate in") as error:
            check_free(address, "gate")
        assert error.value.code == "COM-SERVICE-002"
    check_free(address, "gate")


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "192.0.2.1:9000"])
def test_an_address_that_is_not_ours_is_a_problem(address: str) -> None:
    with pytest.raises(Problem, match=f"cannot listen on {address}"):
        check_free(address, "transfer")
