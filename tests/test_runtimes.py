"""Containers are found by name, whatever the runtime, from what each runtime really prints."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from nettool import runtimes
from nettool.errors import TargetNotFound, UsageError
from nettool.processes import parse_stat, read_process
from nettool.request import RUNTIMES
from nettool.runtimes import crio, find_container, list_containers, podman
from nettool.runtimes.container import Container, parse_inspected
from nettool.runtimes.containerd import parse_tasks
from nettool.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_subprocess import FakeProcess

    from nettool.facts import SandboxFact
    from nettool.runtimes.container import Lookup

ME = os.getpid()
WEB = "3f0c" + "1" * 60
DB = "3f0c" + "2" * 60
POD = "beef" + "3" * 60
CTR = ("ctr", "--namespace")


def inspected(
    name: str, container: str = WEB, pid: int = ME, status: str = "running", exit_code: int = 0
) -> dict[str, Any]:
    """As Docker 20.10 and Podman 4.3 have it; only Docker's name begins with a slash."""
    state = {"Status": status, "Running": status == "running", "Pid": pid, "ExitCode": exit_code}
    return {"Id": container, "Created": "2026-01-02T03:04:05Z", "State": state, "Name": name}


class Daemon:
    """A stand-in for Docker's daemon: answers GET by path, and notes what it was asked."""

    def __init__(self, place: Path) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[str] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(place))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def has(self, *containers: dict[str, Any]) -> None:
        for each in containers:
            for key in (each["Id"], each["Name"].removeprefix("/")):
                self.answers[f"/containers/{key}/json"] = (200, each)
        listed = [{"Id": c["Id"], "Names": [c["Name"]], "State": c["State"]["Status"]} for c in containers]
        self.answers["/containers/json"] = self.answers["/containers/json?all=1"] = (200, listed)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._server.accept()[0]
                with client, contextlib.suppress(OSError):
                    client.sendall(self._answer(client.recv(4096).decode()))

    def _answer(self, request: str) -> bytes:
        verb, path, version = request.partition("\r\n")[0].split(" ")
        assert (verb, version) == ("GET", "HTTP/1.0")
        self.asked.append(path)
        nothing = {"message": f"No such container: {path.split('/')[2]}"} if path.count("/") > 2 else []
        status, body = self.answers.get(path, (404, nothing))
        head = f"HTTP/1.0 {status} Whatever\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n\r\n"
        return head.encode() + (body if isinstance(body, bytes) else json.dumps(body).encode() + b"\n")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which runtimes are installed; at first none is."""

    def install(*names: str) -> None:
        table = (replace(each, installed=lambda name=each.name: name in names) for each in runtimes._RUNTIMES)  # noqa: SLF001 - the seam for tests
        monkeypatch.setattr(runtimes, "_RUNTIMES", tuple(table))

    install()
    return install


@pytest.fixture(autouse=True)
def storage_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Say where Podman's storage is, and that it holds something."""
    (tmp_path / "storage" / "libpod").mkdir(parents=True)
    file = tmp_path / "storage.conf"
    file.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/storage"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(file))
    monkeypatch.delenv("CONTAINER_HOST", raising=False)
    return file


@pytest.fixture
def docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'docker.sock'}")
    installed("docker")
    yield daemon
    daemon.close()


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A socket that takes connections, for the runtimes whose socket is tried first."""
    place = str(tmp_path / "runtime.sock")
    monkeypatch.setenv("CONTAINERD_ADDRESS", place)
    monkeypatch.setenv("CONTAINER_RUNTIME_ENDPOINT", f"unix://{place}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        yield place


def podman_has(fp: FakeProcess, name: str, *containers: dict[str, Any]) -> None:
    argv = ("podman", "inspect", "--type", "container", "--format", "json", "--", name)
    if containers:
        fp.register(argv, stdout=json.dumps(containers))
    else:
        fp.register(
            argv, stdout="[]", stderr=f"Error: inspecting object: no such container {name}", returncode=125
        )


def why(name: str, runtime: str | None = None) -> tuple[str, ...]:
    with pytest.raises(TargetNotFound) as caught:
        find_container(name, runtime)
    return caught.value.why


def assert_is_me(fact: SandboxFact) -> None:
    process = read_process(ME)
    assert (fact.state, fact.pid, fact.path) == ("running", ME, f"/proc/{ME}/ns/net")
    assert (fact.inode, fact.start_time) == (process.inode, process.start_time)
    assert fact.inode == os.stat("/proc/self/ns/net").st_ino


# --- processes


def test_process() -> None:
    fact = read_process(ME)
    assert (fact.pid, fact.state, fact.detail) == (ME, "running", "")
    assert fact.inode == os.stat("/proc/self/ns/net").st_ino


@pytest.mark.parametrize("pid", [0, 1 << 22, 1 << 40, -1])
def test_process_that_never_was(pid: int) -> None:
    fact = read_process(pid)
    assert (fact.state, fact.inode, fact.start_time) == ("gone", None, None)
    assert fact.detail == f"there is no process {pid}"


def test_process_that_has_ended() -> None:
    with subprocess.Popen(("sleep", "60")) as child:
        before = read_process(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = read_process(child.pid)
        child.wait()
        after = read_process(child.pid)
    assert (before.state, zombie.state, after.state) == ("running", "gone", "gone")
    assert before.start_time
    assert zombie.inode is None


def test_process_that_ends_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its namespace cannot be asked for then, and the kernel's answer is the one for who may not look."""
    real = os.stat
    with subprocess.Popen(("sleep", "60")) as child:

        def ends(path: str, *, dir_fd: int | None = None) -> os.stat_result:
            if path != "ns/net":
                return real(path, dir_fd=dir_fd)
            child.kill()
            child.wait()
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("nettool.processes.os.stat", ends)
        assert read_process(child.pid).state == "gone"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_process_of_somebody_else() -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        fact = read_process(ME)
        os.write(write_end, f"{fact.state} {fact.inode} {fact.start_time} {fact.detail}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    start_time = read_process(ME).start_time
    said = os.read(read_end, 1000).decode()
    assert said.startswith(f"forbidden None {start_time} only root")


@pytest.mark.parametrize("name", ["sh", "a b", ") R 1 (", "x) Z 1 1 1 1", "\n)"])
def test_stat_with_a_hostile_name(name: str) -> None:
    fields = " ".join(str(n) for n in range(4, 53))
    assert parse_stat(f"17 ({name}) S {fields}\n") == ("S", 22)


# --- Docker


@pytest.mark.parametrize(("name", "runtime"), [("web", None), ("web", "docker"), (WEB, "docker")])
def test_docker(docker: Daemon, name: str, runtime: str | None) -> None:
    docker.has(inspected("/web"))
    fact = find_container(name, runtime)
    assert_is_me(fact)
    assert f"{runtime or 'container'}:{name}" in fact.answers_to
    assert next(each for each in fact.answers_to if each.startswith("docker:")) == "docker:web"
    assert set(fact.answers_to) >= {"docker:web", f"docker:{WEB}", f"docker:{WEB[:12]}", f"pid:{ME}"}
    assert len(docker.asked) == 1
    assert fact.detail == ""


def test_docker_by_the_beginning_of_an_id(docker: Daemon) -> None:
    docker.answers["/containers/3f0c/json"] = (200, inspected("/web"))
    assert find_container("3f0c", "docker").answers_to[:2] == ("docker:web", "docker:3f0c")
    assert find_container("3f0c", None).answers_to[:2] == ("container:3f0c", "docker:web")


@pytest.mark.parametrize("status", [400, 500])
def test_docker_with_several_ids_that_begin_so(docker: Daemon, status: int) -> None:
    docker.has(inspected("/web"), inspected("/db", DB, 0, "exited"), inspected("/other", POD))
    docker.answers["/containers/3f0c/json"] = (
        status,
        {"message": "Multiple IDs found with provided prefix: 3f0c"},
    )
    with pytest.raises(TargetNotFound) as caught:
        find_container("3f0c", "docker")
    assert caught.value.what == "docker:3f0c means more than one container"
    assert caught.value.why == ("docker: 2 containers begin with 3f0c: web, db",)
    assert caught.value.hints == ("--container docker:web", "--container docker:db")


@pytest.mark.usefixtures("docker")
def test_docker_without_the_container() -> None:
    with pytest.raises(TargetNotFound) as caught:
        find_container("web", None)
    assert caught.value.what == "container:web is not on this host"
    assert caught.value.why == ("docker: no such container",)
    assert caught.value.hints == ("docker ps --all",)


@pytest.mark.parametrize(
    ("state", "exit_code", "detail"),
    [
        ("created", 0, "container web is created; start it first: docker start web"),
        ("exited", 137, "container web is exited (status 137); start it first: docker start web"),
        ("restarting", 1, "container web is restarting"),
        ("dead", 1, "container web is dead (status 1)"),
    ],
)
def test_docker_that_does_not_run(docker: Daemon, state: str, exit_code: int, detail: str) -> None:
    docker.has(inspected("/web", pid=0, status=state, exit_code=exit_code))
    fact = find_container("web", None)
    assert (fact.state, fact.inode, fact.pid, fact.detail) == (state, None, None, detail)
    assert fact.answers_to == ("container:web", "docker:web", f"docker:{WEB}", f"docker:{WEB[:12]}")


def test_paused_is_running(docker: Daemon) -> None:
    docker.has(inspected("/web", status="paused"))
    fact = find_container("web", None)
    assert_is_me(fact)
    assert fact.detail == "container web is paused"


def test_running_without_a_process(docker: Daemon) -> None:
    docker.has(inspected("/web", pid=0))
    fact = find_container("web", None)
    assert (fact.state, fact.inode) == ("unknown", None)
    assert fact.detail == "docker says that container web is running, and names no process of it"


def test_ended_since(docker: Daemon) -> None:
    docker.has(inspected("/web", pid=(1 << 22) + 1))
    fact = find_container("web", None)
    assert (fact.state, fact.inode, fact.start_time) == ("gone", None, None)
    assert fact.detail == "container web is process 4194305 for docker, but there is no process 4194305"


def test_docker_without_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]
) -> None:
    installed("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert why("web") == (f"docker: does not answer: {tmp_path}/none.sock: No such file or directory",)


def test_docker_of_another_machine(monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]) -> None:
    installed("docker")
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    (line,) = why("web")
    assert line.startswith("docker: does not answer: DOCKER_HOST is 'tcp://192.0.2.1:2375'")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""), (200, b"{"), (200, []), (200, {"Id": WEB}), (200, {**inspected("/web"), "Id": "../x"}),
        (404, b"not found\n"), (500, []),
    ],
)  # fmt: skip
def test_docker_that_answers_nonsense(docker: Daemon, answer: tuple[int, object]) -> None:
    docker.answers["/containers/web/json"] = answer
    assert why("web") == ("docker: does not answer: its answer is not of the form that nettool knows",)


def test_docker_whose_api_has_no_such_path(docker: Daemon) -> None:
    docker.answers["/containers/web/json"] = (404, {"message": "page not found"})
    assert why("web") == ("docker: does not answer: page not found",)


def test_docker_that_is_slow(docker: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("container", "docker"):
        monkeypatch.setattr(f"nettool.runtimes.{module}.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(docker, "_answer", lambda _: time.sleep(0.5) or b"")
    assert why("web") == ("docker: does not answer: nothing within 0.05 s",)


# --- names


NO_NAMES = ("", "-f", "--help", "a/b", "../x", "a b", "a\n", "$(id)", "ä", '"', "a\0", ".", "a" * 256)


@pytest.mark.parametrize("runtime", [None, *RUNTIMES])
@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.usefixtures("docker")
def test_what_is_no_name_is_refused(name: str, runtime: str | None) -> None:
    with pytest.raises(UsageError):
        find_container(name, runtime)


def test_labels_are_not_trusted() -> None:
    text = json.dumps(
        {"status": {"id": WEB, "metadata": {"name": "$(reboot)\n"}, "state": "CONTAINER_RUNNING"}}
    )
    assert crio.parse_inspected(text).label == ""
    assert parse_inspected("podman", inspected("-rf")).name == WEB


# --- Podman


@pytest.mark.usefixtures("installed")
def test_podman(fp: FakeProcess) -> None:
    podman_has(fp, "web", inspected("web"))
    fact = find_container("web", "podman")
    assert_is_me(fact)
    assert fact.answers_to == ("podman:web", f"podman:{WEB}", f"podman:{WEB[:12]}", f"pid:{ME}")


@pytest.mark.usefixtures("installed")
def test_podman_with_several_ids_that_begin_so(fp: FakeProcess) -> None:
    argv = ("podman", "inspect", "--type", "container", "--format", "json", "--", "3f")
    fp.register(argv, stderr="Error: more than one result for container ID 3f: exists", returncode=125)
    rows = [{"Id": each, "Names": [name], "Pid": 0, "State": "exited", "ExitCode": 0}
            for each, name in ((WEB, "web"), (DB, "db"), (POD, "other"))]  # fmt: skip
    fp.register(("podman", "ps", "--all", "--format", "json"), stdout=json.dumps(rows))
    assert why("3f", "podman") == ("podman: 2 containers begin with 3f: web, db",)


@pytest.mark.usefixtures("installed")
def test_podman_that_fails(fp: FakeProcess) -> None:
    argv = ("podman", "inspect", "--type", "container", "--format", "json", "--", "web")
    fp.register(argv, stderr="time=… level=warning\nError: permission denied", returncode=125)
    fp.register(("podman", "ps", "--all", "--format", "json"), stderr="Error: the same", returncode=125)
    with pytest.raises(TargetNotFound) as caught:
        find_container("web", "podman")
    assert caught.value.what == "podman:web was not found"
    assert caught.value.why == ("podman: does not answer: permission denied",)
    assert caught.value.hints == ("sudo nettool …",)


@pytest.mark.usefixtures("installed")
def test_podman_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nettool.run._SBIN", ())
    monkeypatch.setenv("PATH", "/nowhere")
    assert why("web", "podman") == ("podman: does not answer: podman is not installed",)


@pytest.mark.usefixtures("installed")
def test_podman_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", "ssh://core@192.0.2.1/run/podman/podman.sock")
    assert why("web", "podman")[0].startswith("podman: does not answer: CONTAINER_HOST is 'ssh://")


@pytest.fixture
def never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None], storage_conf: Path
) -> Path:
    """Podman is installed, and its storage is not there yet."""
    installed("podman")
    (tmp_path / "podman").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    storage_conf.write_text('[storage]\ngraphroot = "/nowhere/storage"\n')
    return storage_conf


@pytest.mark.usefixtures("never_used")
def test_podman_that_was_never_used_is_not_asked(fp: FakeProcess) -> None:
    assert why("web") == why("web", "podman") == ("podman: no such container",)
    assert list_containers() == ()
    assert not fp.calls


def test_podman_whose_storage_is_empty_is_not_asked(
    fp: FakeProcess, never_used: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    never_used.write_text(f'[storage]\ngraphroot = "{tmp_path}/empty"\n')
    assert list_containers() == ()
    assert not fp.calls


@pytest.mark.usefixtures("never_used")
def test_podman_as_a_service_knows_its_own_storage(fp: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTAINER_HOST", "unix:///run/podman/podman.sock")
    podman_has(fp, "web", inspected("web"))
    assert_is_me(find_container("web", None))


@pytest.mark.parametrize("text", ["[storage", 'graphroot = "\xff"', None])
def test_podman_whose_storage_cannot_be_known(fp: FakeProcess, never_used: Path, text: str | None) -> None:
    never_used.unlink()
    if text is not None:
        never_used.write_text(text, encoding="latin-1")
    (line,) = why("web")
    assert line.startswith(f"podman: does not answer: {never_used}: ")
    assert not fp.calls


SYSTEM = '[storage]\ngraphroot = "/system"\n'
FOR_USERS = f'{SYSTEM}rootless_storage_path = "$HOME/$UID/${{UID}}"\n'


@pytest.mark.parametrize(
    ("uid", "files", "expected"),
    [
        (0, {}, "/var/lib/containers/storage"),
        (0, {"etc": SYSTEM}, "/system"),
        (0, {"usr": SYSTEM}, "/system"),
        (0, {"etc": '[storage]\ngraphroot = "/etcs"\n', "usr": SYSTEM}, "/etcs"),
        (0, {"etc": "", "usr": SYSTEM}, "/var/lib/containers/storage"),
        (0, {"home/.config/containers/storage.conf": SYSTEM}, "/var/lib/containers/storage"),
        (0, {"given": '[storage]\ngraphroot = "/given"\n', "etc": SYSTEM}, "/given"),
        (0, {"given": "", "etc": SYSTEM}, "/var/lib/containers/storage"),
        (7, {}, "HOME/.local/share/containers/storage"),
        (7, {"data": ""}, "HOME/data/containers/storage"),
        (7, {"etc": SYSTEM}, "HOME/.local/share/containers/storage"),
        (7, {"etc": FOR_USERS}, "HOME/7/7"),
        (7, {"etc": FOR_USERS, "home/.config/containers/storage.conf": SYSTEM}, "/system"),
        (7, {"etc": FOR_USERS, "home/.config/containers/storage.conf": ""}, "HOME/7/7"),
        (7, {"given": '[storage]\ngraphroot = "/given"\n', "etc": FOR_USERS}, "/given"),
        (7, {"given": "", "etc": FOR_USERS}, "HOME/.local/share/containers/storage"),
    ],
)  # fmt: skip
def test_where_podman_keeps_its_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, files: dict[str, str], expected: str
) -> None:
    home = tmp_path / "home"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setattr(
        "nettool.runtimes.podman._SYSTEM_FILES", (str(tmp_path / "etc"), str(tmp_path / "usr"))
    )
    seen = {"HOME": str(home)}
    if "given" in files:
        seen["CONTAINERS_STORAGE_CONF"] = str(tmp_path / "given")
    if "data" in files:
        seen["XDG_DATA_HOME"] = str(home / "data")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("nettool.runtimes.podman.environment", lambda: seen)
    assert podman.graph_root() == expected.replace("HOME", str(home))


# --- containerd


def containerd_has(
    fp: FakeProcess, name: str, *, labels: dict[str, str] | None, status: str = "RUNNING"
) -> None:
    filters = [
        f'{key}=="{name}"' for key in ("id", 'labels."nerdctl/name"', 'labels."io.kubernetes.container.name"')
    ]
    if set(name) <= set("0123456789abcdef"):
        filters.append(f'id~="^{name}"')
        fp.register((*CTR, "moby", "containers", "ls", "-q", *filters))
    fp.register(("ctr", "namespaces", "ls", "-q"), stdout="default\nk8s.io\nmoby\n")
    fp.register((*CTR, "default", "containers", "ls", "-q", *filters))
    fp.register((*CTR, "k8s.io", "containers", "ls", "-q", *filters), stdout=f"{POD}\n")
    fp.register(
        (*CTR, "k8s.io", "tasks", "ls"), stdout=f"TASK    PID    STATUS    \n{POD}    {ME}    {status}\n"
    )
    info = {"ID": POD, "Labels": labels, "Image": "", "Spec": {"ociVersion": "1.0.2-dev"}}
    fp.register((*CTR, "k8s.io", "containers", "info", "--", POD), stdout=json.dumps(info, indent=4))


@pytest.mark.usefixtures("installed", "listening")
def test_containerd_and_nerdctl(fp: FakeProcess) -> None:
    containerd_has(fp, "web", labels={"nerdctl/name": "web", "nerdctl/namespace": "k8s.io"})
    fact = find_container("web", "containerd")
    assert_is_me(fact)
    assert fact.answers_to == ("containerd:web", f"containerd:{POD}", f"containerd:{POD[:12]}", f"pid:{ME}")


@pytest.mark.usefixtures("installed", "listening")
def test_containerd_and_kubernetes(fp: FakeProcess) -> None:
    containerd_has(fp, "web", labels={"io.kubernetes.container.name": "web", "x": "$(id)"})
    answers = find_container("web", "containerd").answers_to
    assert answers == (f"containerd:{POD}", "containerd:web", f"containerd:{POD[:12]}", f"pid:{ME}")


@pytest.mark.usefixtures("installed", "listening")
def test_containerd_by_the_beginning_of_an_id(fp: FakeProcess) -> None:
    containerd_has(fp, "beef", labels=None)
    assert_is_me(find_container("beef", "containerd"))


@pytest.mark.usefixtures("installed", "listening")
def test_containerd_whose_task_has_ended(fp: FakeProcess) -> None:
    containerd_has(fp, "web", labels={"nerdctl/name": "web"}, status="STOPPED")
    fact = find_container("web", "containerd")
    assert (fact.state, fact.pid, fact.detail) == (
        "stopped",
        None,
        "container web is stopped; start it first",
    )


@pytest.mark.usefixtures("installed")
def test_containerd_without_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fp: FakeProcess
) -> None:
    monkeypatch.setenv("CONTAINERD_ADDRESS", f"{tmp_path}/none")
    assert why("web", "containerd") == (
        f"containerd: does not answer: {tmp_path}/none: No such file or directory",
    )
    assert not fp.calls


def test_tasks() -> None:
    text = "TASK    PID    STATUS    \na    12    RUNNING\nb    0    UNKNOWN\n\n"
    assert parse_tasks(text) == {"a": (12, "RUNNING"), "b": (0, "UNKNOWN")}
    assert parse_tasks("") == {}


# --- CRI-O

CRICTL_PS = {
    "containers": [
        {
            "id": POD,
            "podSandboxId": DB,
            "metadata": {"name": "web", "attempt": 0},
            "image": {"image": "nginx", "annotations": {}, "userSpecifiedImage": ""},
            "imageRef": "docker.io/library/nginx@sha256:00",
            "state": "CONTAINER_RUNNING",
            "createdAt": "1767322983000000000",
            "labels": {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "web-0"},
            "annotations": {"io.kubernetes.container.restartCount": "0"},
        },
        {"id": DB, "metadata": {"name": "db", "attempt": 0}, "state": "CONTAINER_EXITED"},
    ]
}
CRICTL_INSPECT = {
    "status": {
        "id": POD,
        "metadata": {"attempt": 0, "name": "web"},
        "state": "CONTAINER_RUNNING",
        "createdAt": "2026-01-02T03:04:05.0Z",
        "startedAt": "2026-01-02T03:04:05.1Z",
        "finishedAt": "1970-01-01T00:00:00Z",
        "exitCode": 0,
    },
    "info": {"sandboxID": DB, "pid": ME, "runtimeSpec": {"ociVersion": "1.0.2-dev"}, "privileged": False},
}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["web", POD, "beef"])
def test_crio(fp: FakeProcess, listening: str, name: str) -> None:
    crictl = ("crictl", "--runtime-endpoint", f"unix://{listening}")
    fp.register((*crictl, "ps", "--all", "--output", "json"), stdout=json.dumps(CRICTL_PS))
    fp.register((*crictl, "inspect", "--output", "json", POD), stdout=json.dumps(CRICTL_INSPECT))
    fact = find_container(name, "crio")
    assert_is_me(fact)
    assert set(fact.answers_to) == {
        f"crio:{name}", f"crio:{POD}", f"crio:{POD[:12]}", "crio:web", f"pid:{ME}",
    }  # fmt: skip


def test_crio_of_other_ages() -> None:
    status = {**CRICTL_INSPECT["status"], "state": "CONTAINER_EXITED", "exitCode": 2}
    old = crio.parse_inspected(json.dumps({"status": CRICTL_INSPECT["status"], "pid": 17}))
    ended = crio.parse_inspected(json.dumps({"status": status, "info": {"pid": 17}}))
    assert (old.pid, old.state, old.exit_status) == (17, "running", 0)
    assert (ended.pid, ended.state, ended.exit_status) == (0, "exited", 2)
    assert crio.parse_list('{"containers": null}') == ()


# --- LXC


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("word", "detail"), [("RUNNING", ""), ("FROZEN", "container web is paused")])
def test_lxc(fp: FakeProcess, word: str, detail: str) -> None:
    argv = ("lxc-info", "--name=web", "--state", "--pid", "--no-humanize")
    fp.register(argv, stdout=f"State:          {word}\nPID:            {ME}\n")
    fact = find_container("web", "lxc")
    assert_is_me(fact)
    assert (fact.answers_to, fact.detail) == (("lxc:web", f"pid:{ME}"), detail)


@pytest.mark.usefixtures("installed")
def test_lxc_that_is_stopped_or_not_there(fp: FakeProcess) -> None:
    argv = ("lxc-info", "--name=web", "--state", "--pid", "--no-humanize")
    fp.register(argv, stdout="State:          STOPPED\n")
    fact = find_container("web", "lxc")
    assert (fact.state, fact.detail) == ("stopped", "container web is stopped; start it first: lxc-start web")
    fp.register(argv, stderr="web doesn't exist\n", returncode=1)
    assert why("web", "lxc") == ("lxc: no such container",)
    fp.register(argv, stderr="Insufficent privileges to control web\n", returncode=1)
    assert why("web", "lxc") == ("lxc: does not answer: Insufficent privileges to control web",)


# --- several runtimes


def test_the_one_that_has_it_is_enough(
    docker: Daemon, fp: FakeProcess, installed: Callable[..., None]
) -> None:
    installed("docker", "podman")
    podman_has(fp, "web")
    docker.has(inspected("/web"))
    assert find_container("web", None).answers_to[:2] == ("container:web", "docker:web")


@pytest.mark.usefixtures("docker")
def test_a_silent_daemon_is_no_error_when_another_has_it(
    fp: FakeProcess, installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("docker", "podman")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    podman_has(fp, "web", inspected("web"))
    assert find_container("web", None).answers_to[1] == "podman:web"
    podman_has(fp, "db")
    assert why("db") == (
        "docker: does not answer: /nowhere.sock: No such file or directory",
        "podman: no such container",
    )


def test_the_same_name_in_two_runtimes(
    docker: Daemon, fp: FakeProcess, installed: Callable[..., None]
) -> None:
    installed("docker", "podman")
    docker.has(inspected("/web"))
    podman_has(fp, "web", inspected("web", DB, 0, "exited"))
    with pytest.raises(TargetNotFound) as caught:
        find_container("web", None)
    assert caught.value.why == ("docker: web (running)", "podman: web (exited)")
    assert caught.value.hints == ("--container docker:web", "--container podman:web")


def test_a_name_goes_before_the_beginning_of_an_id(
    docker: Daemon, fp: FakeProcess, installed: Callable[..., None]
) -> None:
    installed("docker", "podman")
    docker.has(inspected("/beef"))
    podman_has(fp, "beef", inspected("other", POD, 1))
    assert find_container("beef", None).answers_to[1] == "docker:beef"


@pytest.mark.usefixtures("listening")
def test_docker_and_its_containerd_are_one(
    docker: Daemon, fp: FakeProcess, installed: Callable[..., None]
) -> None:
    installed("docker", "containerd")
    docker.has(inspected("/web", POD))
    filters = [f'id=="{POD}"', f'labels."nerdctl/name"=="{POD}"',
               f'labels."io.kubernetes.container.name"=="{POD}"', f'id~="^{POD}"']  # fmt: skip
    fp.register(("ctr", "namespaces", "ls", "-q"), stdout="moby\n")
    fp.register((*CTR, "moby", "containers", "ls", "-q", *filters), stdout=f"{POD}\n")
    fp.register((*CTR, "moby", "tasks", "ls"), stdout=f"TASK PID STATUS\n{POD} {ME} RUNNING\n")
    assert find_container(POD, None).answers_to == (
        f"container:{POD}", "docker:web", f"docker:{POD}", f"docker:{POD[:12]}",
        f"containerd:{POD}", f"containerd:{POD[:12]}", f"pid:{ME}",
    )  # fmt: skip


@pytest.mark.usefixtures("installed", "listening")
def test_one_id_in_two_namespaces_of_containerd(fp: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [Container("containerd", "web", "web", pid, "running") for pid in (ME, 1)]

    def find(_: str) -> Lookup:
        yield
        return tuple(two)

    table = [replace(each, find=find) for each in runtimes._RUNTIMES if each.name == "containerd"]  # noqa: SLF001 - as above
    monkeypatch.setattr(runtimes, "_RUNTIMES", table)
    with pytest.raises(TargetNotFound) as caught:
        find_container("web", "containerd")
    assert caught.value.why == ("containerd: 2 containers are called web: web, web",)
    assert caught.value.hints == (f"--pid {ME}", "--pid 1")
    assert not fp.calls


@pytest.mark.usefixtures("installed")
def test_no_runtime_at_all() -> None:
    assert why("web") == ("no runtime is installed: docker, podman, containerd, crio, lxc",)
    assert list_containers() == ()


def test_the_runtimes_are_those_of_requests() -> None:
    assert tuple(each.name for each in runtimes._RUNTIMES) == RUNTIMES  # noqa: SLF001 - two tables that must agree


# --- a survey


def test_survey(docker: Daemon, fp: FakeProcess, installed: Callable[..., None]) -> None:
    installed("docker", "podman")
    parent = os.getppid()
    docker.has(inspected("/web"), inspected("/shy", DB, 0, "restarting"))
    rows = [
        {"Id": POD, "Names": ["web"], "Pid": parent, "State": "running", "ExitCode": 0},
        {"Id": "5" * 64, "Names": ["gone"], "Pid": 0, "State": "exited", "ExitCode": 0},
    ]
    wanted = ("--filter", "status=running", "--filter", "status=paused")
    fp.register(("podman", "ps", "--all", *wanted, "--format", "json"), stdout=json.dumps(rows))
    ours, theirs = list_containers()
    assert_is_me(ours)
    # Both are called web: alone, `container:web` would be refused.
    assert ours.answers_to == ("docker:web", f"docker:{WEB}", f"docker:{WEB[:12]}", f"pid:{ME}")
    assert theirs.answers_to == ("podman:web", f"podman:{POD}", f"podman:{POD[:12]}", f"pid:{parent}")
    assert theirs.pid == parent


def test_survey_of_many(docker: Daemon) -> None:
    docker.has(*(inspected(f"/c{n}", f"{n:064x}", n + 1) for n in range(30)))
    facts = list_containers()
    assert [fact.answers_to[:2] for fact in facts] == [(f"container:c{n}", f"docker:c{n}") for n in range(30)]
    assert all(fact.answers_to[-1] == f"pid:{fact.pid}" for fact in facts)


@pytest.mark.usefixtures("listening")
def test_survey_of_containerd_crio_and_lxc(
    fp: FakeProcess, listening: str, installed: Callable[..., None]
) -> None:
    installed("containerd", "crio", "lxc")
    parent = os.getppid()
    fp.register(("ctr", "namespaces", "ls", "-q"), stdout="k8s.io\nmoby\n")
    fp.register((*CTR, "k8s.io", "tasks", "ls"), stdout=f"TASK PID STATUS\n{POD} {ME} RUNNING\n")
    fp.register((*CTR, "moby", "tasks", "ls"), stdout=f"TASK PID STATUS\n{DB} 1 STOPPED\n")
    info = {"ID": POD, "Labels": {"io.kubernetes.container.name": "web"}}
    fp.register((*CTR, "k8s.io", "containers", "info", "--", POD), stdout=json.dumps(info))
    crictl = ("crictl", "--runtime-endpoint", f"unix://{listening}")
    fp.register(
        (*crictl, "ps", "--output", "json"), stdout=json.dumps({"containers": CRICTL_PS["containers"][:1]})
    )
    fp.register((*crictl, "inspect", "--output", "json", POD), stdout=json.dumps(CRICTL_INSPECT))
    fp.register(("lxc-ls", "-1", "--active"), stdout="box\n")
    fp.register(
        ("lxc-info", "--name=box", "--state", "--pid", "--no-humanize"),
        stdout=f"State: RUNNING\nPID: {parent}\n",
    )
    pod, box = list_containers()
    assert set(pod.answers_to) == {
        f"container:{POD}", f"containerd:{POD}", f"containerd:{POD[:12]}", "containerd:web",
        f"crio:{POD}", f"crio:{POD[:12]}", "crio:web", f"pid:{ME}",
    }  # fmt: skip
    assert box.answers_to == ("container:box", "lxc:box", f"pid:{parent}")
