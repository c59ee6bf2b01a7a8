"""Real container engines, each on a throw-away host of its own (root only).

The engine is private down to its sockets, records and network, so it never meets the machine's own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hosts import Host, mount_namespace
from snapshot import search_path

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGE: Final = "bb:1"
PAGE: Final = "hello from busybox\n"
START_SECONDS: Final = 60
STOP_SECONDS: Final = 20

# Engines write here whatever they are told: keys, leases, caches. On their host these are overlays.
_WRITTEN: Final = ("/opt", "/var/lib", "/var/cache")
_OVERLAY: Final = """
mkdir -p "/run/overlay$1/new" "/run/overlay$1/work"
mount -t overlay -o "lowerdir=$1,upperdir=/run/overlay$1/new,workdir=/run/overlay$1/work" overlay "$1"
"""


class EngineUnavailableError(Exception):
    """The engine cannot be run here."""


class Engine(Host):
    """A host with a container engine; `command` is its client."""

    command: str
    needs: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._check_needs()
        super().__init__()
        for written in _WRITTEN:
            self.run("sh", "-c", _OVERLAY, "sh", written)

    def _check_needs(self) -> None:
        if os.geteuid():
            raise EngineUnavailableError("needs root")
        missing = [tool for tool in self.needs if not shutil.which(tool, path=search_path())]
        if missing:
            raise EngineUnavailableError(f"not installed: {', '.join(missing)}")

    def cli(self, *args: str) -> str:
        """Call the engine's client, which must succeed; return what it printed, stripped."""
        return self.check(self.command, *args).strip()

    def run_none(self, name: str) -> int:
        """Start a container with network mode "none" that serves PAGE on port 80; return its pid."""
        self.cli(
            "run", "-d", "--network=none", "--name", name, IMAGE, "httpd", "-f", "-p", "80", "-h", "/www"
        )
        return self.container_pid(name)

    def container_pid(self, name: str) -> int:
        """Return the pid of a running container."""
        return int(self.cli("inspect", "--format", "{{.State.Pid}}", name))

    def rm(self, *names: str) -> None:
        """Stop and remove containers."""
        self.cli("rm", "-f", *names)

    def containers(self) -> list[str]:
        """Return the ids of all containers, stopped ones too."""
        return self.cli("ps", "-aq").split()

    def _import_image(self) -> None:
        archive = self.folder / "image.tar"
        archive.write_bytes(busybox_image())
        self.cli("import", str(archive), IMAGE)

    def _remove_containers(self) -> None:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.rm(*self.containers())

    def close(self) -> None:
        """End the engine and all that it started, and remove its files."""
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Docker(Engine):
    """A host with a Docker daemon: docker0 is 172.17.0.1/16, `log` is the daemon's debug log."""

    command = "docker"
    needs = ("dockerd", "containerd", "runc", "docker", "iptables", "busybox")
    at_end = "docker rm -f $(docker ps -aq); kill $(cat /run/docker.pid)"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self.log = folder / "dockerd.log"
        self._cgroup = f"nettool-test-{self.pid}"
        try:
            self._daemon = self._start()
            self._import_image()
        except BaseException:
            self.close()
            raise

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DOCKER_HOST": "unix:///run/docker.sock"}

    def _start(self) -> subprocess.Popen[str]:
        with self.log.open("w") as log:
            daemon = self.popen(
                "dockerd", "--debug", "--host", "unix:///run/docker.sock", "--pidfile", "/run/docker.pid",
                "--data-root", str(self.folder / "data"), "--exec-root", "/run/docker",
                "--storage-driver", "vfs", "--bip", "172.17.0.1/16", "--cgroup-parent", f"/{self._cgroup}",
                "--exec-opt", "native.cgroupdriver=cgroupfs", *self._options,
                output=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while self.run("docker", "version").returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                last = self.log.read_text(errors="replace").splitlines()[-1:]
                raise EngineUnavailableError(f"dockerd does not start here: {''.join(last)}")
            time.sleep(0.1)
        return daemon

    def restart(self) -> None:
        """Stop the daemon and start it again; containers live on with the option --live-restore."""
        self._stop()
        self._daemon = self._start()

    def close(self) -> None:
        if mount_namespace(self.pid):
            self._remove_containers()
            self._stop()
        super().close()
        _end_control_group(self._cgroup)

    def _stop(self) -> None:
        daemon: subprocess.Popen[str] | None = getattr(self, "_daemon", None)
        if daemon is None:
            return
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(STOP_SECONDS)


class Podman(Engine):
    """A host with Podman, runc and the CNI backend: `networks` and `plugins` are its CNI folders."""

    command = "podman"
    needs = ("podman", "runc", "conmon", "iptables", "busybox")
    at_end = "podman rm -a -f -t 0"

    def __init__(self, folder: Path) -> None:
        self.networks = folder / "networks"
        self.plugins = folder / "plugins"
        super().__init__(folder)
        try:
            self._configure()
            self._import_image()
        except BaseException:
            self.close()
            raise

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }

    def _configure(self) -> None:
        self.networks.mkdir()
        self.plugins.mkdir()
        plugins = json.dumps([str(self.plugins), "/usr/lib/cni"])
        # Ulimits above the caller's own cannot be set everywhere; file locks are not shared with the
        # machine's own Podman as those in /dev/shm would be.
        (self.folder / "containers.conf").write_text(f"""\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = {plugins}
network_config_dir = "{self.networks}"
""")
        (self.folder / "storage.conf").write_text(f"""\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "{self.folder / "storage"}"
""")

    def rm(self, *names: str) -> None:
        self.cli("rm", "-f", "-t", "0", *names)

    def close(self) -> None:
        if mount_namespace(self.pid):
            self._remove_containers()
        super().close()
        _remove_control_group("libpod_parent")


def busybox_image() -> bytes:
    """Return a tar archive of a root file system with busybox, its applets and PAGE in /www."""
    busybox = shutil.which("busybox", path=search_path())
    if busybox is None or b"/ld-linux" in Path(busybox).read_bytes()[:4096]:
        raise EngineUnavailableError("not installed: busybox-static")
    applets = subprocess.run((busybox, "--list"), capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "tmp", "www"):
            _add(archive, folder, kind=tarfile.DIRTYPE)
        _add(archive, "bin/busybox", Path(busybox).read_bytes())
        _add(archive, "www/index.html", PAGE.encode())
        for applet in applets:
            if applet != "busybox":
                _add(archive, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    target: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.type, entry.linkname, entry.size = 0o755, kind, target, len(content)
    archive.addfile(entry, io.BytesIO(content))


def _end_control_group(name: str) -> None:
    """Kill what is left in a control group that was ours alone, and remove it."""
    groups = [group for top in _control_groups(name) for group in _with_children(top)]
    for pid in _members(groups):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_SECONDS
    while any(_members(groups)) and time.monotonic() < deadline:
        time.sleep(0.01)
    _remove_control_group(name)


def _remove_control_group(name: str) -> None:
    """Remove a control group from every hierarchy; one that still has members stays."""
    for top in _control_groups(name):
        for group in _with_children(top):
            with contextlib.suppress(OSError):
                group.rmdir()


def _with_children(top: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]


def _control_groups(name: str) -> list[Path]:
    mount = Path("/sys/fs/cgroup")
    return [folder for folder in (mount / name, *mount.glob(f"*/{name}")) if folder.is_dir()]


def _members(groups: Iterable[Path]) -> list[int]:
    pids: list[int] = []
    for group in groups:
        with contextlib.suppress(OSError):
            pids += map(int, (group / "cgroup.procs").read_text().split())
    return pids
