"""Containers of real runtimes are found: Docker, Podman, containerd and LXC, each on its own host."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from real import busybox_image
from snapshot import search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hosts import Host
    from real import Docker, Engine, Podman

ASK = """
import json, sys
from nettool.errors import TargetNotFound
from nettool.runtimes import find_container, list_containers
try:
    name, runtime = sys.argv[1:] or ("", "")
    found = [find_container(name, runtime or None)] if name else list_containers()
    print(json.dumps([vars(each) for each in found]))
except TargetNotFound as error:
    print(json.dumps({"what": error.what, "why": error.why, "hints": error.hints}))
"""


def ask(host: Host, name: str = "", runtime: str = "", **environment: str) -> Any:
    """Look for a container, or for all, on that host."""
    words = (name, runtime) if name else ()
    return json.loads(host.check(sys.executable, "-c", ASK, *words, env=environment))


def assert_found(host: Host, found: Any, pid: int, *answers: str) -> None:
    (fact,) = found
    assert (fact["state"], fact["pid"], fact["path"]) == ("running", pid, f"/proc/{pid}/ns/net")
    assert fact["inode"] == Path(f"/proc/{pid}/ns/net").stat().st_ino
    assert fact["inode"] != Path(f"/proc/{host.pid}/ns/net").stat().st_ino
    assert fact["start_time"] == int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert tuple(fact["answers_to"][: len(answers)]) == answers
    assert fact["answers_to"][-1] == f"pid:{pid}"


def survive_a_life(engine: Engine, name: str, runtime: str) -> None:
    """Follow one container from its start to its removal."""
    pid = engine.run_none(name)
    long_id = engine.cli("inspect", "--format", "{{.Id}}", name)
    by_name = f"{runtime}:{name}"
    assert_found(engine, ask(engine, name), pid, f"container:{name}", by_name)
    assert_found(engine, ask(engine, name, runtime), pid, by_name, f"{runtime}:{long_id}")
    assert_found(engine, ask(engine, long_id[:6], runtime), pid, by_name, f"{runtime}:{long_id[:6]}")
    assert_found(engine, ask(engine), pid, f"container:{name}", by_name)
    engine.cli("pause", name)
    assert_found(engine, ask(engine, name), pid, f"container:{name}", by_name)
    assert_found(engine, ask(engine), pid, f"container:{name}", by_name)
    engine.cli("unpause", name)
    engine.cli("kill", name)
    engine.cli("wait", name)
    (fact,) = ask(engine, name)
    assert (fact["state"], fact["pid"], fact["inode"]) == ("exited", None, None)
    assert (
        fact["detail"] == f"container {name} is exited (status 137); start it first: {runtime} start {name}"
    )
    assert ask(engine) == []
    engine.rm(name)
    assert f"{runtime}: no such container" in ask(engine, name)["why"]


def ids_with_one_beginning(engine: Engine, runtime: str) -> None:
    """Of seventeen ids, two begin with the same digit; mostly fewer are enough."""
    made: dict[str, str] = {}
    try:
        while True:
            name = f"many{len(made)}"
            digit = engine.cli("create", "--name", name, "bb:1", "true")[0]
            if digit in made:
                break
            made[digit] = name
        names = {made[digit], name}
        error = ask(engine, digit, runtime)
        assert error["what"] == f"{runtime}:{digit} means more than one container"
        (line,) = error["why"]
        head, _, listed = line.rpartition(": ")
        assert head == f"{runtime}: {len(names)} containers begin with {digit}"
        assert set(listed.split(", ")) == names
        (fact,) = ask(engine, "many0")
        assert (fact["state"], fact["pid"]) == ("created", None)
    finally:
        engine.rm(*{*made.values(), name})


def test_docker(docker: Docker) -> None:
    survive_a_life(docker, "web", "docker")


def test_docker_ids(docker: Docker) -> None:
    ids_with_one_beginning(docker, "docker")


def test_docker_on_the_hosts_network(docker: Docker) -> None:
    docker.cli("run", "-d", "--network=host", "--name", "bare", "bb:1", "sleep", "60")
    (fact,) = ask(docker, "bare")
    assert fact["inode"] == Path(f"/proc/{docker.pid}/ns/net").stat().st_ino
    docker.rm("bare")


def test_docker_and_its_containerd_are_one(docker: Docker) -> None:
    place = {"CONTAINERD_ADDRESS": "/run/docker/containerd/containerd.sock"}
    pid = docker.run_none("web")
    long_id = docker.cli("inspect", "--format", "{{.Id}}", "web")
    assert_found(docker, ask(docker, long_id, **place), pid, f"container:{long_id}", "docker:web")
    (fact,) = ask(docker, **place)
    assert {"docker:web", f"containerd:{long_id}"} <= set(fact["answers_to"])
    assert_found(docker, ask(docker, long_id[:12], "containerd", **place), pid, f"containerd:{long_id}")
    docker.rm("web")


def test_docker_without_a_daemon(docker: Docker) -> None:
    (line,) = ask(docker, "web", "docker", DOCKER_HOST="unix:///run/none.sock")["why"]
    assert line == "docker: does not answer: /run/none.sock: No such file or directory"


def test_podman(podman: Podman) -> None:
    survive_a_life(podman, "web", "podman")


def test_podman_ids(podman: Podman) -> None:
    ids_with_one_beginning(podman, "podman")


def test_docker_and_podman_side_by_side(docker: Docker, podman: Podman) -> None:
    # Process ids are the machine's, so one host can ask the other's daemon.
    both = {"DOCKER_HOST": f"unix:///proc/{docker.pid}/root/run/docker.sock"}
    docker_pid, podman_pid = docker.run_none("web"), podman.run_none("web")
    error = ask(podman, "web", **both)
    assert error["why"] == ["docker: web (running)", "podman: web (running)"]
    assert error["hints"] == ["--container docker:web", "--container podman:web"]
    assert_found(podman, ask(podman, "web", "docker", **both), docker_pid, "docker:web")
    assert_found(podman, ask(podman, "web", "podman", **both), podman_pid, "podman:web")
    assert {fact["pid"] for fact in ask(podman, **both)} == {docker_pid, podman_pid}
    docker.rm("web")
    assert_found(podman, ask(podman, "web", **both), podman_pid, "container:web", "podman:web")
    podman.rm("web")


# --- runtimes without a fixture of their own


@pytest.fixture
def root_file_system(tmp_path: Path) -> Path:
    folder = tmp_path / "rootfs"
    with tarfile.open(fileobj=BytesIO(busybox_image())) as archive:
        archive.extractall(folder)  # noqa: S202 - our own archive, and `filter` came with Python 3.11.4
    for name in ("proc", "sys", "dev"):
        (folder / name).mkdir()
    return folder


def needs(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool, path=search_path())]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_podman_that_was_never_used(host: Host) -> None:
    needs("podman")
    host.check("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
    host.check(sys.executable, "-m", "nettool", "show")
    assert ask(host) == []
    assert ask(host, "web", "podman")["why"] == ["podman: no such container"]
    assert list(host.path("/var/lib").iterdir()) == []


@pytest.fixture
def containerd(host: Host, tmp_path: Path) -> Iterator[Host]:
    """A host where containerd runs, with no CRI plugin."""
    needs("containerd", "ctr", "runc")
    config = tmp_path / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{tmp_path / "data"}"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
    )
    with (tmp_path / "log").open("w") as log:
        host.popen("containerd", "--config", str(config), output=log)
    wait_until(host.path("/run/containerd/containerd.sock").exists)
    yield host
    for namespace in host.run("ctr", "ns", "ls", "-q").stdout.split():
        for container in host.run("ctr", "-n", namespace, "c", "ls", "-q").stdout.split():
            host.run("ctr", "-n", namespace, "task", "rm", "-f", container)
            host.run("ctr", "-n", namespace, "c", "rm", container)


def test_containerd(containerd: Host, root_file_system: Path) -> None:
    def ctr(*words: str) -> str:
        return containerd.check("ctr", *words)

    serve = (str(root_file_system), "/bin/sleep", "60")
    web, pod = "3f0c" + "a" * 60, "beef" + "b" * 60
    run = ("run", "-d", "--rootfs")
    ctr("-n", "default", *run, "--label", "nerdctl/name=web", serve[0], web, *serve[1:])
    ctr("-n", "k8s.io", *run, "--label", "io.kubernetes.container.name=app", serve[0], pod, *serve[1:])
    ctr("-n", "k8s.io", *run, "--label", "nerdctl/name=$(id)\n", serve[0], "plain.one", *serve[1:])
    ctr("-n", "default", "container", "create", "--rootfs", serve[0], "idle", *serve[1:])
    rows = [
        line.split() for name in ("default", "k8s.io") for line in ctr("-n", name, "t", "ls").splitlines()
    ]
    pids = {row[0]: int(row[1]) for row in rows if row[1] != "PID"}

    for name in ("web", web, web[:5]):
        assert_found(containerd, ask(containerd, name, "containerd"), pids[web], "containerd:web")
    assert_found(containerd, ask(containerd, "app"), pids[pod], "container:app", f"containerd:{pod}")
    assert_found(
        containerd,
        ask(containerd, "plain.one"),
        pids["plain.one"],
        "container:plain.one",
        "containerd:plain.one",
    )
    assert ask(containerd, "plain", "containerd")["why"] == ["containerd: no such container"]
    (idle,) = ask(containerd, "idle", "containerd")
    assert (idle["state"], idle["detail"]) == ("created", "container idle is created; start it first")
    assert {fact["pid"] for fact in ask(containerd)} == set(pids.values())

    ctr("-n", "default", "task", "kill", "-s", "KILL", web)
    wait_until(lambda: "STOPPED" in ctr("-n", "default", "task", "ls"))
    (ended,) = ask(containerd, "web", "containerd")
    assert (ended["state"], ended["pid"]) == ("stopped", None)


def test_containerd_that_has_gone(containerd: Host) -> None:
    place = containerd.path("/run/containerd/containerd.sock")
    place.rename(place.with_suffix(".away"))
    began = time.monotonic()
    (line,) = ask(containerd, "web", "containerd")["why"]
    place.with_suffix(".away").rename(place)
    assert line == "containerd: does not answer: /run/containerd/containerd.sock: No such file or directory"
    assert time.monotonic() - began < 5


def test_lxc(host: Host, tmp_path: Path, root_file_system: Path) -> None:
    needs("lxc-create", "lxc-start", "lxc-info", "lxc-ls")
    host.check("mount", "-t", "tmpfs", "tmpfs", "/var/lib/lxc")
    config = tmp_path / "config"
    config.write_text(
        f"lxc.rootfs.path = dir:{root_file_system}\nlxc.uts.name = web\nlxc.net.0.type = empty\n"
        "lxc.apparmor.profile = unconfined\n"
    )
    host.check("lxc-create", "--name", "web", "--config", str(config), "--template", "none")
    (fact,) = ask(host, "web", "lxc")
    assert (fact["state"], fact["pid"]) == ("stopped", None)
    host.check("lxc-start", "--name", "web", "--", "/bin/sleep", "60")
    try:
        pid = int(host.check("lxc-info", "--name", "web", "--pid", "--no-humanize"))
        assert_found(host, ask(host, "web"), pid, "container:web", "lxc:web")
        assert_found(host, ask(host), pid, "container:web", "lxc:web")
        host.check("lxc-freeze", "--name", "web")
        (fact,) = ask(host, "web", "lxc")
        assert (fact["state"], fact["detail"]) == ("running", "container web is paused")
        assert ask(host, "nosuch", "lxc")["why"] == ["lxc: no such container"]
    finally:
        host.check("lxc-stop", "--kill", "--name", "web")
