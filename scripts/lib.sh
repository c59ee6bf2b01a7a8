# shellcheck shell=bash
# What the scripts share: which system tools are needed, and how the virtual environment is made.
# Sourced; the caller has `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

# command:package; where the package's name differs between releases, the first one known is taken.
# shellcheck disable=SC2034  # used by the scripts that source this
{
    run_tools=(ip:iproute2 brctl:bridge-utils nsenter:util-linux curl:curl)
    test_tools=(
        "${run_tools[@]}"
        iptables:iptables sysctl:procps arping:iputils-arping ping:iputils-ping tcpdump:tcpdump
        strace:strace shellcheck:shellcheck conntrack:conntrack
        busybox:busybox-static dnsmasq:dnsmasq-base dockerd:docker.io 'docker:docker-cli|docker.io' runc:runc podman:podman
    )
}

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# need_tools COMMAND:PACKAGE…: as root install what is missing, else say what is. Never fails.
need_tools() {
    local tool missing=()
    for tool in "$@"; do
        have "${tool%%:*}" || missing+=("${tool#*:}")
    done
    ((${#missing[@]})) || return 0
    if ((EUID == 0)) && have apt-get; then
        install_packages "${missing[@]}"
    else
        mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed 's/.*|//' | sort -u)
        say "missing: ${missing[*]}"
        say "  try: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
}

# need_kernel: as root install a full kernel and what boots it, when they are missing.
need_kernel() {
    have qemu-system-x86_64 && compgen -G '/boot/vmlinuz-*-amd64' >/dev/null && return
    if ((EUID == 0)) && have apt-get; then
        install_packages linux-image-amd64 qemu-system-x86
    else
        die 'missing: a full kernel, and what boots it; try: sudo apt-get install linux-image-amd64 qemu-system-x86'
    fi
}

# install_packages NAME[|NAME]…: with no service started, now or at boot, and nothing removed.
install_packages() {
    local choice packages=() had_docker=1
    have dockerd || had_docker=
    say "installing: $*"
    update_lists
    for choice in "$@"; do
        packages+=("$(first_known "$choice")")
    done
    without_services apt_install "${packages[@]}"
    [[ $had_docker ]] || disable_services
}

update_lists() {
    [[ ${lists_updated-} ]] && return
    lists_updated=1
    apt-get update -qq >/dev/null || say 'apt-get update failed; going on with the lists that are there'
}

first_known() {
    local name
    for name in ${1//|/ }; do
        if apt-cache show "$name" >/dev/null 2>&1; then
            break
        fi
    done
    printf '%s\n' "$name"
}

apt_install() {
    local package options=(-qq -y --no-install-recommends --no-remove -o Dpkg::Use-Pty=0)
    apt-get install "${options[@]}" "$@" >/dev/null && return
    for package in "$@"; do
        apt-get install "${options[@]}" "$package" >/dev/null || say "could not be installed: $package"
    done
}

# A daemon that starts would set up the machine's own network: policy-rc.d forbids that to packages.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@"
    rm -f "$policy"
    trap - EXIT
}

disable_services() {
    have systemctl || return 0
    local unit
    for unit in docker.service docker.socket containerd.service podman.service podman.socket \
        podman-restart.service podman-auto-update.timer; do
        systemctl disable --quiet "$unit" 2>/dev/null || true
    done
}

# The distribution's own comes first: it is what nettool's users run, and built with optimisation, which
# one that was compiled by hand often is not.
find_python() {
    local python
    for python in /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$python"
            return
        fi
    done
    die 'no Python 3.11 or newer; try: apt-get install python3'
}

# make_venv EXTRA: install nettool and its EXTRA ('' for none) into .venv, when pyproject.toml has
# changed since.
make_venv() {
    local extra=${1:+[$1]} stamp=$venv/.installed-$1 sum
    sum=$(cksum "$root/pyproject.toml")
    if [[ -f $stamp && $(<"$stamp") == "$sum" ]] && "$venv/bin/python" -c 'import nettool' 2>/dev/null; then
        return
    fi
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || create_venv
    say "installing nettool$extra into .venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --editable "$root$extra"
    printf '%s\n' "$sum" >"$stamp"
}

create_venv() {
    local python package
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=${python##*/}-venv
        if ((EUID != 0)) || ! have apt-get; then
            die "missing: $package; try: sudo apt-get install $package"
        fi
        install_packages "$package"
    fi
    "$python" -m venv --clear "$venv"
}
