#!/usr/bin/env bash
# What an engineer types to give process $1 the address $2 on docker0: the rival of scripts/bench.
set -e
mkdir -p /var/run/netns
ln -s "/proc/$1/ns/net" "/var/run/netns/$1"
ip link add vethA type veth peer name vethB
brctl addif docker0 vethA
ip link set vethA up
ip link set vethB netns "$1"
ip netns exec "$1" ip link set dev vethB name eth0
ip netns exec "$1" ip link set eth0 up
ip netns exec "$1" ip addr add "$2" dev eth0
ip netns exec "$1" ip route add default via 172.17.0.1
