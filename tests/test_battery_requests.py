"""Requests that nobody thought of, by the thousand, through the planner: no host, no process.

Words of a command line, right and wrong, and what a file of a saved plan may say, are planned on the
hosts of tests/cases. An option that is new gets its share of nonsense without a line here.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import subprocess
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
from cases import case_files, facts_in, records_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_kinds import FULL
from test_hostile import assert_harmless

import nettool.pipeline
from nettool import cli, export, output, render
from nettool.arguments import Kind, parse
from nettool.codec import Malformed, decode
from nettool.errors import NettoolError
from nettool.ipam import Subnet
from nettool.model import Network, NetworkRecord, Records
from nettool.planner import check, plan
from nettool.request import Attach, Target
from nettool.sandboxes import find
from nettool.savedplan import CLASSES, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from battery import Cases

    from nettool.arguments import Option
    from nettool.facts import Facts
    from nettool.plan import Plan
    from nettool.request import Request

T = TypeVar("T")

EXAMPLES: Final = 20_000 if FULL else 300
STATUSES: Final = (2, 4, 5)
LOOKED_AT: Final = 25
"""One plan in so many is also written in every form, and its script is read by bash."""

_LETTERS: Final = "ABCXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
ODD: Final = (
    "", "-", "--", "0", "-1", "$(id)", "a b", "a\nb", "\udcff", "x" * 300, "..", "/", "é", "\u202e", "\x1b[m"
)  # fmt: skip
_nonsense = st.one_of(
    st.sampled_from(ODD),
    _printable,
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20),
)


def _mostly(right: st.SearchStrategy[T], *wrong: st.SearchStrategy[T], weight: int) -> st.SearchStrategy[T]:
    """Return one of them; the first is `weight` times as likely as each other."""
    # The same strategy given twice counts once.
    return st.one_of(*(right.map(lambda value: value) for _ in range(weight)), *wrong)


# A whole value from one number: drawing many small ones is what takes the time.
def _numbers(make: Callable[[int], str], last: int) -> st.SearchStrategy[str]:
    return st.integers(0, last).map(make)


def _name(number: int) -> str:
    letters = "a"
    while number:
        number, at = divmod(number, len(_LETTERS))
        letters += _LETTERS[at]
    return letters


def _cidr4(number: int) -> str:
    return f"172.17.{number >> 8 & 255}.{number & 255}/{(16, 24, 31, 32, 8, 0, 33)[(number >> 16) % 7]}"


def _cidr6(number: int) -> str:
    return f"fd00::{number & 0xFFFF:x}/{(64, 64, 64, 48, 127, 128, 0, 129)[number >> 16 & 7]}"


def _any_cidr4(number: int) -> str:
    return f"{ipaddress.IPv4Address(number >> 6)}/{(number & 63) % 34}"


def _any_cidr6(number: int) -> str:
    return f"{ipaddress.IPv6Address(number >> 8)}/{(number & 255) % 130}"


_hosts4 = _numbers(lambda n: f"172.17.{n >> 8}.{n & 255}", 0xFFFF)
_hosts6 = _numbers("fd00::{:x}".format, 0xFFFF)
_right4 = _numbers(lambda n: f"172.17.{n + 2 >> 8}.{n + 2 & 255}/16", 65_000)
_right6 = _numbers(lambda n: f"fd00::{n + 2:x}/64", 65_000)
_cidrs = _mostly(
    st.one_of(_right4, _right6),
    _numbers(_cidr4, 1 << 20), _numbers(_cidr6, 1 << 19), _numbers(_any_cidr4, (1 << 38) - 1),
    _numbers(_any_cidr6, (1 << 136) - 1),
    st.sampled_from(["172.17.0.10", "172.17.0.10/255.255.0.0", "fe80::1%eth0/64", "::ffff:10.0.0.1/96", "1/1",
                     "172.017.0.1/16", "0.0.0.0/0", "224.0.0.1/4", "127.0.0.1/8", "fe80::5/64", "::1/128"]),
    weight=12,
)  # fmt: skip
_networks = st.one_of(_numbers("10.{}.0.0/16".format, 255), _numbers("fd01:{:x}::/48".format, 255), _cidrs)
_routes = st.one_of(
    _networks, st.builds("{},{}".format, _networks, _hosts4), st.builds("{},{}".format, _networks, _hosts6)
)
_gateways = st.one_of(
    st.sampled_from(["auto", "none", "fe80::1", "fe80::1%eth0", "240.0.0.1"]), _hosts4, _hosts6
)
_names = st.one_of(
    st.sampled_from(["eth0", "eth1", "up", "dev", "lo", "all", "default", "docker0", "uplink0",
                     "nt0123456789", "x" * 15, "x" * 16, ".", "..", "a/b", "a:b", "-x", "é", "\u202e"]),
    _numbers(_name, 1 << 80),
)  # fmt: skip

KNOWN: Final = {
    "ip": _cidrs,
    "route": _routes,
    "gateway": _gateways,
    "bridge": _mostly(st.just("docker0"), _names, weight=3),
    "ifname": _names,
    "host_ifname": _names,
    "netns": st.sampled_from(["blue", "/proc/1310/ns/net", "/run/netns/blue", "../x", "/", "a b"]),
    "mac": _numbers(lambda n: n.to_bytes(6, "big").hex(":"), (1 << 48) - 1),
    "publish": st.builds("{}:{}".format, st.integers(-1, 65536), st.integers(-1, 65536)),
    "name": _names,
    "network": _mostly(st.just("net1"), _names, weight=6),
    "target": _mostly(
        st.just("pid:1310"),
        st.sampled_from(["docker:web", "web", "netns:blue", "/proc/1310/ns/net", "pid:x", "netns:../x", ":"]),
        weight=6,
    ),
    "subnet": _networks,
    "ip_range": _networks,
    "exclude": st.one_of(_networks, _hosts4, _hosts6),
    "ip6": _hosts6,
    "bridge_name": _names,
    "label": st.builds("{}={}".format, _names, _names),
    "pid": _mostly(st.just("1310"), _numbers(str, 1 << 23), weight=12),
    "mtu": st.one_of(_numbers(lambda n: str(1280 + n), 220), _numbers(str, 70_000)),
    "lock_timeout": _numbers(str, 20),
}
# Whether there is such a container, only its runtime can tell.
CONTAINERS: Final = st.sampled_from(["web", "docker:web", "lxc:web", "nope:web"])
TARGETS: Final = ("pid", "container", "netns")
# Its file would be read, or written.
LEFT_OUT: Final = ("facts", "export")


@cache
def _words_of(option: Option) -> st.SearchStrategy[list[str]]:
    """Return the words of one option, mostly right."""
    name = option.names[0]
    if option.kind is Kind.FLAG:
        return st.just([name])
    right = st.sampled_from(option.choices) if option.choices else KNOWN.get(option.key, _nonsense)
    values = CONTAINERS if option.key == "container" else _mostly(right, _nonsense, weight=20)
    return st.one_of(values.map(lambda value: [name, value]), values.map(lambda value: [f"{name}={value}"]))


@cache
def _lines_of(name: str) -> st.SearchStrategy[list[str]]:
    """Return command lines of one verb: a target, addresses, and a few options more."""
    verb = cli.load(name)
    options = {option.key: option for option in verb.options if option.key not in LEFT_OUT}
    operands = st.tuples(*(KNOWN[operand.key] for operand in verb.operands)).map(list)
    targets = [_words_of(options[key]) for key in TARGETS if key in options]
    target = _mostly(*targets, weight=6) if targets else operands
    addresses = st.just([])
    if name == "attach":
        addresses = st.lists(_words_of(options["ip"]), min_size=1, max_size=3)
    others = st.one_of(*[_words_of(option) for key, option in options.items() if key not in TARGETS])
    more = st.lists(_mostly(others, target, weight=20), max_size=4)
    last = _mostly(st.just([]), st.sampled_from([["x"], ["--nope"], ["--"]]), weight=20)
    parts = st.tuples(target, addresses, more, last)
    return parts.map(lambda part: [name, *part[0], *chain(*part[1], *part[2]), *part[3]])


PLANNING: Final = ("detach", "network create", "network rm", "network connect", "network disconnect")
VERBS: Final = tuple(verb for verb in cli.VERBS if verb in PLANNING)
_command_lines = _mostly(_lines_of("attach"), *(_lines_of(verb) for verb in VERBS), weight=len(VERBS))
"""The verb, which may be two words in one, and what follows it."""

_any_text = st.text(st.characters(exclude_categories=()), max_size=20)
_texts = st.one_of(_any_text, _names, _cidrs, _gateways)
_TARGET: Final = {"is": "Target", "kind": "pid", "value": "1310"}
_saved_requests = st.fixed_dictionaries(
    {
        "is": st.just("Attach"),
        "target": st.just(_TARGET),
        "addresses": st.lists(_mostly(_cidrs, _any_text, weight=6), min_size=1, max_size=3),
    },
    optional={
        "bridge": _mostly(st.just("docker0"), _texts, weight=3),
        "gateway": st.one_of(_gateways, _texts),
        "ifname": _texts,
        "host_ifname": _texts,
        "mac": st.one_of(KNOWN["mac"], _texts),
        "routes": st.lists(_mostly(_routes, _any_text, weight=3), max_size=2),
        "mtu": st.one_of(st.none(), st.integers(), st.booleans()),
        "default_route": st.one_of(st.sampled_from(["keep", "replace"]), _texts),
        "dialect": st.one_of(st.sampled_from(["auto", "classic", "modern"]), _texts),
    },
)
"""What a file may say that somebody wants."""


# --- the worlds that they meet


class World:
    """A host, and what nettool remembers of it."""

    def __init__(self, name: str, facts: Facts, records: Records) -> None:
        self.name, self.facts, self.records = name, facts, records

    def __repr__(self) -> str:
        # A failure would print all of it.
        return f"<the host of {self.name}>"


_SUBNETS: Final = (Subnet("10.20.0.0/24", "10.20.0.1"), Subnet("fd20::/64", "fd20::1"))
_NETWORKS: Final = (
    NetworkRecord(Network("net1", "bridge", "docker0", "02:42:00:00:00:01", _SUBNETS), ()),
    NetworkRecord(Network("none", "none"), ()),
)


def _worlds() -> list[World]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cases = [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in case_files()]
        return [
            World(name, facts_in(case), Records(tuple(records_in(case, monkeypatch)), networks=_NETWORKS))
            for name, case in cases
        ]


WORLDS: Final = _worlds()
_on_worlds = st.sampled_from(WORLDS)


@pytest.fixture(scope="module")
def caught() -> Iterator[list[Request]]:
    """Every request that a command line makes, which goes no further."""
    requests: list[Request] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(nettool.pipeline, "execute", lambda request, _mode: requests.append(request))
        yield requests


_settings = settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
_luck = st.integers(1, LOOKED_AT).map(LOOKED_AT.__eq__)


@pytest.mark.battery("B12")
@_settings
@given(words=_command_lines, world=_on_worlds, lucky=_luck)
def test_any_command_line_is_planned_or_refused(
    words: list[str],
    world: World,
    *,
    lucky: bool,
    caught: list[Request],
    cases: Cases,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cases.add()
    caught.clear()
    verb = cli.load(words[0])
    try:
        arguments = parse(verb, words[1:])
        if arguments is not None:
            verb.run(arguments)
        elif lucky:
            assert _status([*words[0].split(), *words[1:]]) in (0, 2)
            assert "Traceback" not in capsys.readouterr().err
    except NettoolError as error:
        _check_error(error, capsys)
    for request in caught:
        _check_request(request, world, capsys, look=lucky)


@pytest.mark.battery("B12")
@_settings
@given(saved=_saved_requests, world=_on_worlds, lucky=_luck)
def test_any_saved_request_is_planned_or_refused(
    saved: dict[str, object], world: World, *, lucky: bool, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    cases.add()
    try:
        request = decode(json.loads(json.dumps(saved)), CLASSES)
    except Malformed:
        return
    assert isinstance(request, Attach)
    _check_request(request, world, capsys, look=lucky)


@settings(_settings, max_examples=EXAMPLES // 20)
@given(kind=st.sampled_from(["pid", "netns", "path", "", "nonsense"]), value=_any_text | _names | _nonsense)
def test_any_target_of_a_saved_request_is_looked_for_or_refused(
    kind: str, value: str, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    cases.add()
    try:
        assert find(Target(kind, value)).answers_to
    except NettoolError as error:
        _check_error(error, capsys)


def _status(words: list[str]) -> object:
    """Return how a command line ends that Typer answers."""
    try:
        return cli.main(words)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize("words", ["attach --pid {} --ip 172.17.0.10/16", "attach --pid 1 --mtu {}"])
def test_a_number_of_any_length_is_a_usage_error(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(words.format("1" * 5000).split()) == 2
    assert_harmless(capsys.readouterr().err)


def _check_request(request: Request, world: World, capsys: pytest.CaptureFixture[str], *, look: bool) -> None:
    try:
        check(request)
        planned = plan(request, world.facts, world.records)
    except NettoolError as error:
        _check_error(error, capsys)
        return
    _check_plan(planned, world.facts)
    assert plan(request, world.facts, world.records) == planned
    if look and type(request) in CLASSES:
        _check_forms(planned, world.facts, capsys)


def _check_error(error: NettoolError, capsys: pytest.CaptureFixture[str]) -> None:
    assert error.exit_status in STATUSES
    output.print_error(error, as_json=True)
    printed = capsys.readouterr()
    assert_harmless(printed.err)
    assert json.loads(printed.out)["error"]["exit_status"] == error.exit_status


def _check_plan(planned: Plan, facts: Facts) -> None:
    """Hold a plan against what every plan is."""
    for step in planned.steps:
        assert all(word and word.isprintable() for word in step.do.words())
    lines = [line for line in render.commands(planned).splitlines() if line[:1] != "#"]
    assert [tuple(shlex.split(line)) for line in lines] == [step.do.words() for step in planned.to_do]
    assert planned.against(facts) == planned
    document = render.document(planned, facts)
    saved = json.loads(json.dumps(document))
    assert saved == document
    assert list(differences(saved, document)) == []
    if type(planned.request) in CLASSES:
        assert decode(saved["request"], CLASSES) == planned.request


def _check_forms(planned: Plan, facts: Facts, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("bash", "runbook", "ansible", "mermaid"):
        try:
            text = export.render(planned, facts, form)
        except NettoolError as error:
            _check_error(error, capsys)
            continue
        assert_harmless(text)
        if form == "bash":
            done = subprocess.run(("bash", "-n"), input=text, capture_output=True, text=True, check=False)
            assert done.stderr == "", text
