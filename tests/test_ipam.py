"""Free subnets and addresses, compared with what counting one by one finds."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettool.ipam import (
    DEFAULT_POOLS,
    Subnet,
    address_fault,
    free_subnet,
    gateway_of,
    next_address,
    parse_pools,
)

if TYPE_CHECKING:
    from nettool.ipam import IPNetwork


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ((), "172.17.0.0/16"),
        (("172.17.0.0/16",), "172.18.0.0/16"),
        (("172.17.5.0/24", "172.18.0.0/16"), "172.19.0.0/16"),
        (("172.16.0.0/12",), "192.168.0.0/20"),
        (("172.16.0.0/12", "192.168.3.0/24", "fd00::/8"), "192.168.16.0/20"),
        (("0.0.0.0/0",), None),
        (("172.16.0.0/12", "192.168.0.0/16"), None),
    ],
)
def test_the_next_free_subnet_overlaps_nothing(taken: tuple[str, ...], free: str | None) -> None:
    found = free_subnet(parse_pools(DEFAULT_POOLS), _networks(*taken))
    assert (str(found) if found else None) == free


_small = st.integers(0, 255).flatmap(
    lambda third: st.sampled_from([f"10.0.{third}.0/24", f"10.0.{third & 0xF8}.0/21", f"10.0.{third}.128/25"])
)


@given(st.lists(_small, max_size=12), st.integers(18, 26))
def test_a_free_subnet_is_the_first_that_counting_finds(taken: list[str], length: int) -> None:
    networks = _networks(*taken)
    every = ipaddress.ip_network("10.0.0.0/18").subnets(new_prefix=length)
    expected = next((s for s in every if not any(s.overlaps(n) for n in networks)), None)
    assert free_subnet(parse_pools(f"10.0.0.0/18:{length}"), networks) == expected


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/8", "10.0.0.0/16:8", "10.0.0.0/16:31", "10.0.0.1/8:16", "x:16"]
)
def test_a_bad_pool_is_no_pool(text: str) -> None:
    with pytest.raises(ValueError, match=r"pool|address|network|bits"):
        parse_pools(text)


@pytest.mark.parametrize(
    ("subnet", "used", "last", "found"),
    [
        (Subnet("10.1.0.0/24"), (), None, "10.1.0.2"),
        (Subnet("10.1.0.0/24"), ("10.1.0.2",), None, "10.1.0.3"),
        (Subnet("10.1.0.0/24"), (), "10.1.0.7", "10.1.0.8"),
        (Subnet("10.1.0.0/24"), (), "10.1.0.254", "10.1.0.2"),
        (Subnet("10.1.0.0/24", gateway="10.1.0.254"), (), None, "10.1.0.1"),
        (Subnet("10.1.0.0/24", addresses="10.1.0.128/25"), (), None, "10.1.0.128"),
        (Subnet("10.1.0.0/24", addresses="10.1.0.128/25"), (), "10.1.0.5", "10.1.0.128"),
        (Subnet("10.1.0.0/24", excluded=("10.1.0.0/25",)), (), None, "10.1.0.128"),
        (Subnet("10.1.0.0/30"), ("10.1.0.2",), None, None),
        (Subnet("10.1.0.0/31"), (), None, "10.1.0.1"),
        (Subnet("fd00::/64"), (), None, "fd00::2"),
        (Subnet("fd00::/64"), ("fd00::2", "fd00::3"), "fd00::ffff:ffff:ffff:ffff", "fd00::4"),
        (Subnet("fd00::/64", excluded=("fd00::/65",)), (), None, "fd00::8000:0:0:0"),
    ],
)
def test_the_next_address(subnet: Subnet, used: tuple[str, ...], last: str | None, found: str | None) -> None:
    assert next_address(subnet, used, last) == found


_addresses = st.integers(0, 31).map(lambda number: f"10.1.0.{number}")


@given(
    used=st.sets(_addresses),
    last=st.one_of(st.none(), _addresses),
    part=st.sampled_from([None, "10.1.0.0/28", "10.1.0.16/28", "10.1.0.8/29"]),
    excluded=st.lists(st.sampled_from(["10.1.0.4/30", "10.1.0.16/29", "10.1.0.1/32"]), max_size=2),
)
def test_every_address_is_given_once_until_none_is_left(
    used: set[str], last: str | None, part: str | None, excluded: list[str]
) -> None:
    subnet = Subnet("10.1.0.0/27", addresses=part, excluded=tuple(excluded))
    hosts = ipaddress.ip_network(part or "10.1.0.0/27")
    expected = {
        str(address)
        for address in ipaddress.ip_network("10.1.0.0/27").hosts()
        if address in hosts
        and str(address) not in used | {gateway_of(subnet)}
        and not any(address in ipaddress.ip_network(text) for text in excluded)
    }
    given_out: list[str] = []
    while (found := next_address(subnet, {*used, *given_out}, last)) is not None:
        assert address_fault(subnet, found, {*used, *given_out}) is None
        given_out.append(found)
        last = found
    assert len(given_out) == len(set(given_out))
    assert set(given_out) == expected


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.1.0.0", "no host address"),
        ("10.1.0.255", "no host address"),
        ("10.2.0.1", "no host address"),
        ("10.1.0.1", "the gateway's"),
        ("10.1.0.9", "excluded"),
        ("10.1.0.5", "in use"),
        ("10.1.0.6", None),
    ],
)
def test_an_address_that_was_asked_for(address: str, words: str | None) -> None:
    fault = address_fault(Subnet("10.1.0.0/24", excluded=("10.1.0.8/29",)), address, {"10.1.0.5"})
    assert (words in fault) if words and fault else fault == words
