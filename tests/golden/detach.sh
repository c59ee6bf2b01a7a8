#!/usr/bin/env bash
# Takes an interface away from a sandbox again.
# Made by nettool VERSION, in the classic dialect.
#
#   apply   remove what is there; this is done without a word, too
#   undo    make again what this script removed, as it was
#   check   say of every step whether it is so
#
# Exit status: 0 done, or nothing to do; 1 failed, and what ran was taken back; 2 usage; 4 refused before
# anything ran; 5 target not found; 7 the check found something that is not so; 8 failed, and what is left
# is printed; 130, 143 or 129 ended by a signal, and what ran was taken back.
#
# Needs root, bash 4 and: brctl, ip, ln, rm, stat.

# --- Variables: edit these, and every step follows

PID=1310                           # a process in the sandbox
NETNS="$PID"                       # the namespace's name under /var/run/netns
HOST_IF=nt0123456789               # the host's end of the cable
EXPECT_NETNS='net:[4026532465]'    # the namespace that is meant

# --- Nothing to edit from here on

set -u
export LC_ALL=C
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
umask 022
NOTES="${NETTOOL_RUN_DIR:-/run/nettool}/endpoints"
NS_FD='' NS_ID=''
SIGNAL=0 LINK='' NUMBER='' SAID='' PLACE='' WHERE='' STATE='' FOUND='' LEFTOVER='' KEY='' SAYS=''
WHY=() TRY=() RAN=()
declare -A ASKED=() # what ip has said since the last command that changes something

usage() {
    printf 'usage: %s [apply|undo|check]\n' "${0##*/}"
}

mistaken() {
    usage >&2
    exit 2
}

clean() { # TEXT: what a terminal could act on becomes a question mark
    printf '%s' "${1//[^[:print:]]/?}"
}

stop() { # STATUS WHAT HOST: say what, why, the state of the host and what to try; end
    {
        printf 'error: %s\n' "$(clean "$2")"
        lines why: ${WHY[@]+"${WHY[@]}"}
        lines host: "$3"
        lines try: ${TRY[@]+"${TRY[@]}"}
    } >&2
    exit "$1"
}

lines() { # LABEL [LINE...]
    local label=$1 line
    for line in "${@:2}"; do
        printf '  %-6s %s\n' "$label" "$(clean "$line")"
        label=''
    done
}

refuse() { # WHY...
    WHY+=("$@")
    stop 4 "cannot $TITLE" unchanged
}

report() { # STATE SENTENCE
    printf '%-9s %s\n' "$1" "$(clean "$2")"
}

commands() { # NUMBER
    if (($1 == 1)); then echo '1 command'; else echo "$1 commands"; fi
}

check_value() { # NAME VALUE PATTERN
    [[ $2 =~ ^($3)$ ]] || WHY+=("$1 cannot be '$2'")
}

check_values() {
    check_value PID "$PID" '[1-9][0-9]{0,6}'
    check_value NETNS "$NETNS" '[A-Za-z0-9][A-Za-z0-9_.-]{0,63}'
    check_value HOST_IF "$HOST_IF" '[A-Za-z][A-Za-z0-9_.-]{0,14}'
    check_value EXPECT_NETNS "$EXPECT_NETNS" '(net:\[[0-9]+\])?'
    ((${#WHY[@]} == 0)) || stop 2 'the variables at the top of this script are wrong' unchanged
}

check_tools() {
    local tool
    for tool in brctl ip ln rm stat; do
        type -P "$tool" >/dev/null || WHY+=("$tool is not installed")
    done
    ((EUID == 0)) || { WHY+=("this needs root") && TRY+=("sudo $0"); }
    ((${#WHY[@]} == 0)) || stop 4 "cannot $TITLE" unchanged
}

# --- The sandbox

namespace_of() { # PATH: net:[...], when it leads to a namespace
    local own found
    found=$(stat -L -c '%d %i' -- /proc/self/ns/net "$1" 2>/dev/null) || return
    own=${found%% *} found=${found##*$'\n'}
    [[ ${found% *} == "$own" ]] && printf 'net:[%s]' "${found#* }"
}

hold() { # PATH: keep the namespace open, so that nothing else can take its place
    namespace_of "$1" >/dev/null || return
    { exec {NS_FD}<"$1"; } 2>/dev/null || { NS_FD='' && return 1; }
}

inside() { # COMMAND...: read in the sandbox, through what holds it
    [[ -n $NS_FD ]] || return
    if type -P nsenter >/dev/null; then
        nsenter --net="/proc/self/fd/$NS_FD" -- "$@"
    elif [[ $1 == ip ]]; then
        ip -n "../../../../../proc/$$/fd/$NS_FD" "${@:2}"
    else
        ip netns exec "$NETNS" "$@"
    fi
}

at() { # host|sandbox COMMAND...
    if [[ $1 == host ]]; then "${@:2}"; else inside "${@:2}"; fi
}

is_sandbox() { # PATH: whether it leads to the sandbox
    if [[ -n $NS_FD ]]; then [[ $1 -ef /proc/self/fd/$NS_FD ]]; else [[ $(namespace_of "$1") == "$NS_ID" ]]; fi
}

name_is_ours() { # whether the name, where it is there, leads to the sandbox
    [[ ! -e /var/run/netns/$NETNS ]] || is_sandbox "/var/run/netns/$NETNS"
}

# --- What is there: each sets STATE to absent, present or conflict, and FOUND to what is in the way

present() { STATE=present; }

absent() { STATE=absent; }

conflict() { STATE=conflict FOUND=$1; }

link_of() { # host|sandbox NAME: LINK is what ip says of the interface; fails when it is not there
    local key="link $1 $2"
    LINK=${ASKED["$key"]-}
    if [[ -z $LINK ]]; then
        LINK=$(at "$1" ip -json -details link show dev "$2" 2>/dev/null) || LINK=none
        ASKED["$key"]=$LINK
    fi
    [[ $LINK == '[{"ifindex":'* ]]
}

number() { # VARIABLE KEY: set it to the number behind a key of LINK, empty where there is none
    local pattern="\"$2\":([0-9]+)"
    if [[ $LINK =~ $pattern ]]; then printf -v "$1" '%s' "${BASH_REMATCH[1]}"; else printf -v "$1" ''; fi
}

find_number() { # NUMBER is what the host's namespace calls the sandbox's: not known before that has a name
    local name id rest
    NUMBER=''
    [[ -e /var/run/netns/$NETNS ]] && name_is_ours || return
    [[ -n ${ASKED[netns]-} ]] || ASKED[netns]=$(ip -o netns list 2>/dev/null)
    while read -r name id rest; do
        # Without a number, nothing of the host leads there.
        [[ $name != "$NETNS" ]] || { rest=${rest%)} && NUMBER=${rest:-none} && return; }
    done <<<"${ASKED[netns]}"
}

ends_meet() { # HOST_END INNER: whether they are the two ends of one cable
    local index peer id inner_index inner_peer
    link_of host "$1" || return
    number index ifindex && number peer link_index && number id link_netnsid
    link_of sandbox "$2" || return
    number inner_index ifindex && number inner_peer link_index
    [[ -n $id && $inner_index == "$peer" && $inner_peer == "$index" ]] || return
    # Indices alone can agree by chance among three namespaces.
    find_number
    [[ -z $NUMBER || $NUMBER == "$id" ]]
}

look_name() { # NAME SOURCE: present only when the name leads to that very namespace
    local path="/var/run/netns/$1"
    KEY="netns $1" SAYS="$path is the sandbox's network namespace"
    if [[ -e $path ]]; then
        if is_sandbox "$path"; then present; else conflict 'is another namespace'; fi
    elif [[ -L $path ]]; then
        conflict 'leads to no namespace: its process is gone'
        [[ $(readlink -- "$path") != "$2" ]] || LEFTOVER=1
    else
        absent
    fi
}

look_veth() { # HOST_END
    KEY="veth $1" SAYS="$1 is a veth on the host"
    if ! link_of host "$1"; then
        absent
    elif [[ $LINK == *'"info_kind":"veth"'* ]]; then
        present
    else
        conflict 'is another kind of interface'
    fi
}

look_port() { # HOST_END BRIDGE
    local words at master=''
    KEY="port $1" SAYS="$1 is a port of $2"
    # 5: name@peer: <FLAGS> and then pairs, up to the first backslash
    read -r -a words <<<"$(ip -o link show dev "$1" 2>/dev/null)"
    for ((at = 3; at + 1 < ${#words[@]}; at += 2)); do
        [[ ${words[at]} != master ]] || { master=${words[at + 1]} && break; }
    done
    case $master in
        '') absent ;;
        "$2") present ;;
        *) conflict "is plugged into $master" ;;
    esac
}

look_inside() { # HOST_END NAME...: the names that the other end can have
    local id name
    KEY="inside $1" SAYS="the other end of $1 is in namespace $NETNS"
    link_of host "$1" || { absent && return; }
    number id link_netnsid
    # Without a number, the other end is on the host still.
    [[ -n $id ]] || { absent && return; }
    find_number
    [[ $id != "$NUMBER" ]] || { present && return; }
    for name in "${@:2}"; do
        ! ends_meet "$1" "$name" || { present && return; }
    done
    conflict 'has its other end in another namespace'
}

look_interface() { # NAME HOST_END
    KEY="interface $NETNS $1" SAYS="$1 in namespace $NETNS is the other end of $2"
    if ! link_of sandbox "$1"; then
        absent
    elif ends_meet "$2" "$1"; then
        present
    else
        conflict 'is another interface'
    fi
}

look_up() { # host|sandbox NAME
    local pattern='"flags":\[[^]]*"UP"'
    place "$1"
    KEY="up $PLACE $2" SAYS="$2 is up$WHERE"
    if link_of "$1" "$2" && [[ $LINK =~ $pattern ]]; then present; else absent; fi
}

look_address() { # host|sandbox NAME CIDR WIDTH: with the same prefix length
    local words
    place "$1"
    KEY="address $PLACE $2 ${3%/*}" SAYS="$2 has $3$WHERE"
    read -r -a words <<<"$(at "$1" ip -o addr show dev "$2" to "${3%/*}/$4" 2>/dev/null)"
    if [[ -z ${words[3]-} ]]; then
        absent
    elif [[ ${words[3]#*/} == "${3#*/}" ]]; then
        present
    else
        conflict "is there as ${words[3]}"
    fi
}

look_route() { # host|sandbox FAMILY DESTINATION VIA LINK METRIC [OLD]
    local line metric way=(dev "$5")
    [[ -z $4 ]] || way=(via "$4" "${way[@]}")
    place "$1"
    KEY="route $PLACE $2 $3 $6" SAYS="$3 goes ${way[*]}$WHERE"
    absent
    while read -r line; do
        [[ -n $line ]] || continue
        metric=$(metric_of "$line" "$2")
        ((metric == ($2 == 6 && $6 == 0 ? 1024 : $6))) || continue
        ! goes_way "$1" "$2" "$3" "$metric" "${way[@]}" || { present && return; }
        conflict "goes ${line#*"$3" }" && return
    done <<<"$(at "$1" ip "-$2" -o -d route show exact "$3" 2>/dev/null)"
}

goes_way() { # host|sandbox FAMILY DESTINATION METRIC [via ADDRESS] dev LINK
    local line
    while read -r line; do
        [[ -n $line && $(metric_of "$line" "$2") == "$4" ]] || continue
        [[ $5 != via && " $line " == *' via '* ]] || return 0
    done <<<"$(at "$1" ip "-$2" -o route show exact "$3" "${@:5}" 2>/dev/null)"
    return 1
}

metric_of() { # LINE FAMILY
    local pattern=' metric ([0-9]+)'
    if [[ $1 =~ $pattern ]]; then
        printf '%s' "${BASH_REMATCH[1]}"
    else
        printf '%s' "$(($2 == 6 ? 1024 : 0))"
    fi
}

place() { # host|sandbox: PLACE and WHERE are how a key and a sentence say it
    if [[ $1 == host ]]; then PLACE=host WHERE=''; else PLACE=$NETNS WHERE=" in namespace $NETNS"; fi
}
gone() { # turn what was looked up round: what somebody else put there is none of ours
    SAYS="no longer: $SAYS"
    if [[ $STATE == present || -n $LEFTOVER ]]; then STATE=absent; else STATE=present; fi
}

# --- The steps: how each is looked up, done and undone

STEPS=(1 2)
RESTORES=(3 4 5 6 7 8 9 10 11)
# These reach into the sandbox: its identity is checked first.
declare -A TOUCHES=([2]=1 [3]=1 [7]=1 [8]=1 [9]=1 [10]=1 [11]=1)

look() { # NUMBER
    STATE='' FOUND='' LEFTOVER=''
    step "$1" look
}

step() { # NUMBER look|make|undo|needed
    case "$1 $2" in
        # 1: takes back: a virtual cable with two ends
        '1 look') look_veth "$HOST_IF"; gone ;;
        '1 make') ip link del dev "$HOST_IF" ;;

        # 2: takes back: gives the sandbox's namespace a name; ip netns list shows it now
        '2 look') look_name "$NETNS" "/proc/$PID/ns/net"; gone ;;
        '2 make') rm "/var/run/netns/$NETNS" ;;

        # 3: gives the sandbox's namespace a name; ip netns list shows it now
        '3 look') look_name "$NETNS" "/proc/$PID/ns/net" ;;
        '3 make') ln -s "/proc/$PID/ns/net" "/var/run/netns/$NETNS" ;;

        # 4: a virtual cable with two ends
        '4 look') look_veth "$HOST_IF" ;;
        '4 make') ip link add "$HOST_IF" address 02:00:00:00:00:07 type veth peer name nt0123456789p address 02:00:00:00:00:03 ;;

        # 5: plugs the host's end into the bridge
        '5 look') look_port "$HOST_IF" docker0 ;;
        '5 make') brctl addif docker0 "$HOST_IF" ;;

        # 6: switches the host's end on
        '6 look') look_up host "$HOST_IF" ;;
        '6 make') ip link set "$HOST_IF" up ;;

        # 7: puts the other end into the sandbox
        '7 look') look_inside "$HOST_IF" nt0123456789p eth0 ;;
        '7 make') ip link set nt0123456789p netns "$NETNS" ;;

        # 8: the name that programs expect
        '8 look') look_interface eth0 "$HOST_IF" ;;
        '8 make') ip netns exec "$NETNS" ip link set dev nt0123456789p name eth0 ;;

        # 9: switches the sandbox's end on
        '9 look') look_up sandbox eth0 ;;
        '9 make') ip netns exec "$NETNS" ip link set eth0 up ;;

        # 10: the sandbox's address on the network
        '10 look') look_address sandbox eth0 172.17.0.10/16 32 ;;
        '10 make') ip netns exec "$NETNS" ip addr add 172.17.0.10/16 dev eth0 ;;

        # 11: sends everything else to the gateway
        '11 look') look_route sandbox 4 default 172.17.0.1 eth0 0 ;;
        '11 make') ip netns exec "$NETNS" ip route add default via 172.17.0.1 ;;
        *) return 1 ;;
    esac
}

run() { # NUMBER make|undo: run a step's command; SAID is what it said
    local status=0
    SAID=$(step "$1" "$2" 2>&1) || status=$?
    ASKED=()
    return "$status"
}

# --- The notes: what this script made, for its undo and for nettool detach

open_notes() {
    local mode
    [[ $NOTES == /* ]] || refuse "NETTOOL_RUN_DIR is no absolute path"
    (umask 077 && mkdir -p -- "$NOTES") 2>/dev/null || refuse "the folder $NOTES cannot be made"
    mode=$(stat -c %a -- "$NOTES") || refuse "the folder $NOTES cannot be looked at"
    [[ -d $NOTES && ! -L $NOTES && -O $NOTES && $((8#$mode & 8#22)) == 0 ]] ||
        refuse "the folder $NOTES belongs to another user, or others may write to it"
}

note() { # FILE LINE
    (umask 077 && printf '%s\n' "$2" >>"$1") 2>/dev/null
}

noted() { # FILE LINE
    local line
    while read -r line; do
        [[ $line != "$2" ]] || return 0
    done 2>/dev/null <"$1"
    return 1
}

catch_signals() {
    trap 'SIGNAL=2' INT
    trap 'SIGNAL=15' TERM
    trap 'SIGNAL=1' HUP
}

check() {
    local n status=0
    for n in "${STEPS[@]}"; do
        look "$n"
        case $STATE in
            present) report ok "$SAYS" ;;
            conflict) report conflict "$SAYS: but it $FOUND" && status=7 ;;
            *) report missing "$SAYS" && status=7 ;;
        esac
    done
    exit "$status"
}

find_sandbox() { # it may be gone: what is left of it can be cleared away all the same
    local path paths=("/proc/$PID/ns/net" "/var/run/netns/$NETNS")
    NS_ID=$EXPECT_NETNS
    for path in "${paths[@]}"; do
        [[ $(namespace_of "$path") != "$NS_ID" ]] || { hold "$path" && return; }
    done
}

# --- Apply and undo

apply() {
    local n
    open_notes
    for n in "${RESTORES[@]}"; do
        look "$n"
        [[ $STATE != present ]] || WAS+=("$n")
    done
    catch_signals
    for n in "${STEPS[@]}"; do
        look "$n"
        [[ $STATE == present ]] || carry_out "$n"
    done
    ((SIGNAL == 0)) || roll_back "ended by signal $SIGNAL"
    forget
    trap - INT TERM HUP
    if ((${#RAN[@]})); then
        printf 'done: %s (%s, verified)\n' "$(clean "$TITLE")" "$(commands "${#RAN[@]}")"
    else
        printf 'nothing to do: %s\n' "$(clean "$TITLE")"
    fi
}

carry_out() { # NUMBER
    ((SIGNAL == 0)) || roll_back "ended by signal $SIGNAL"
    [[ -z ${TOUCHES[$1]-} ]] || name_is_ours || roll_back "$NETNS is no longer the sandbox's name"
    ((${#RAN[@]})) || keep || roll_back "the notes in $NOTES cannot be written"
    RAN+=("$1")
    run "$1" make
    # A sandbox that dies takes its cable along: what is gone need not be removed.
    look "$1"
    [[ $STATE == present ]] || roll_back "step $1 failed: ${SAID:-not so: $SAYS}"
}

keep() { # note what was there, for undo
    local n
    rm -f -- "$TRACE"
    for n in ${WAS[@]+"${WAS[@]}"}; do
        look "$n"
        note "$TRACE" "$KEY" || return
    done
}

roll_back() { # REASON: make again what was there
    local status=1
    trap '' INT TERM HUP
    WHY+=("$1")
    ((SIGNAL == 0)) || status=$((128 + SIGNAL))
    ((${#RAN[@]})) || stop "$((SIGNAL ? status : 4))" "cannot $TITLE" unchanged
    restore || stop 8 "cannot $TITLE" 'NOT as before: what is above could not be made again'
    rm -f -- "$TRACE"
    stop "$status" "cannot $TITLE" 'as before: what ran was taken back'
}

restore() { # make again what was there, and say what could not be
    local n status=0
    for n in ${WAS[@]+"${WAS[@]}"}; do
        look "$n"
        [[ $STATE != present ]] || continue
        if [[ -z $NS_FD ]]; then
            WHY+=("the sandbox $NS_ID is gone")
        elif [[ -n ${TOUCHES[$n]-} ]] && ! name_is_ours; then
            WHY+=("$NETNS is no longer the sandbox's name")
        else
            run "$n" make || WHY+=("step $n failed: ${SAID:-no message}")
            DONE=$((DONE + 1))
        fi
        look "$n"
        [[ $STATE == present ]] || { status=8 && WHY+=("missing: $SAYS"); }
    done
    return "$status"
}

forget() { # nettool's records of what is gone are put aside, not away: undo takes them back
    local end kind
    for end in "${ENDS[@]}"; do
        for kind in json made; do
            [[ ! -f $NOTES/$end.$kind ]] || mv -f -- "$NOTES/$end.$kind" "$NOTES/$end.$kind.detached"
        done
    done
}

remember() {
    local end kind
    for end in "${ENDS[@]}"; do
        for kind in json made; do
            [[ ! -f $NOTES/$end.$kind.detached ]] || mv -f -- "$NOTES/$end.$kind.detached" "$NOTES/$end.$kind"
        done
    done
}

undo() {
    local n
    [[ -f $TRACE && ! -L $TRACE ]] || { printf 'nothing to undo: %s\n' "$(clean "$TITLE")" && exit 0; }
    open_notes
    for n in "${RESTORES[@]}"; do
        look "$n"
        ! noted "$TRACE" "$KEY" || WAS+=("$n")
    done
    [[ -n $NS_FD ]] || stop 5 "cannot undo: $TITLE: the sandbox $NS_ID is gone" unchanged
    trap '' INT TERM HUP
    restore || stop 8 "cannot undo: $TITLE" 'NOT as before: what is above could not be made again'
    remember
    rm -f -- "$TRACE"
    printf 'undone: %s (%s)\n' "$(clean "$TITLE")" "$(commands "$DONE")"
}

main() {
    (($# <= 1)) || mistaken
    check_values
    TITLE="detach $HOST_IF"
    TRACE=$NOTES/"$HOST_IF.detached" WAS=() DONE=0
    ENDS=("$HOST_IF")
    trap '' PIPE
    case ${1-apply} in
        apply) check_tools && { find_sandbox; apply; } ;;
        check) check_tools && { find_sandbox; check; } ;;
        undo) check_tools && { find_sandbox; undo; } ;;
        -h | --help) usage ;;
        *) mistaken ;;
    esac
}

main "$@"
exit 0
