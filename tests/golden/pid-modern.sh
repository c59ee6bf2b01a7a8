#!/usr/bin/env bash
# Gives a sandbox an interface on a bridge.
# Made by nettool VERSION, in the modern dialect.
#
#   apply   make what is missing; this is done without a word, too
#   undo    take back what this script made, and nothing else
#   check   say of every step whether it is so
#
# Exit status: 0 done, or nothing to do; 1 failed, and what ran was taken back; 2 usage; 4 refused before
# anything ran; 5 target not found; 7 the check found something that is not so; 8 failed, and what is left
# is printed; 130, 143 or 129 ended by a signal, and what ran was taken back.
#
# Needs root, bash 4 and: ip, stat.

# --- Variables: edit these, and every step follows

PID=1310                           # a process in the sandbox
NETNS="$PID"                       # the namespace's name under /var/run/netns
HOST_IF=nt641a6717ae               # the host's end of the cable
BRIDGE=docker0                     # the bridge to plug into
IFNAME=eth0                        # the interface in the sandbox
ADDRESS=172.17.0.10/16             # its address, with the prefix length
ADDRESS_2=fd00::10/64              # its address, with the prefix length
GATEWAY=172.17.0.1                 # where everything else is sent
GATEWAY_6=fd00::1                  # where everything else is sent
ROUTE=10.9.0.0/16                  # a further route
MAC=02:42:ac:11:00:0a              # its MAC address
MTU=1400                           # its MTU
EXPECT_NETNS='net:[4026532465]'    # the namespace that is meant; empty: any
EXPECT_STARTTIME=4711              # when PID started, in ticks since boot; empty: any

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
    check_value BRIDGE "$BRIDGE" '[^-/:%[:space:][:cntrl:]][^/:%[:space:][:cntrl:]]{0,14}'
    check_value IFNAME "$IFNAME" '[A-Za-z][A-Za-z0-9_.-]{0,14}'
    check_value ADDRESS "$ADDRESS" '([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}'
    check_value ADDRESS_2 "$ADDRESS_2" '[0-9A-Fa-f:]{2,}[0-9A-Fa-f:.]*/[0-9]{1,3}'
    check_value GATEWAY "$GATEWAY" '([0-9]{1,3}\.){3}[0-9]{1,3}'
    check_value GATEWAY_6 "$GATEWAY_6" '[0-9A-Fa-f:]{2,}[0-9A-Fa-f:.]*'
    check_value ROUTE "$ROUTE" '([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}'
    check_value MAC "$MAC" '[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}'
    check_value MTU "$MTU" '[1-9][0-9]{1,4}'
    check_value EXPECT_NETNS "$EXPECT_NETNS" '(net:\[[0-9]+\])?'
    check_value EXPECT_STARTTIME "$EXPECT_STARTTIME" '[0-9]*'
    ((${#WHY[@]} == 0)) || stop 2 'the variables at the top of this script are wrong' unchanged
}

check_tools() {
    local tool
    for tool in ip stat; do
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

# --- The steps: how each is looked up, done and undone

STEPS=(1 2 3 4 5 6 7 8 9 10)
# Who takes a step back: its own undo; a host step none but the rollback of the run itself, a sandbox step the
# undo of the sandbox's last endpoint, and a firewall step that of the last network or port.
declare -A SCOPE=([1]=sandbox)
declare -A UNDO=([1]=1 [2]=1) # the others go with one of these
# These reach into the sandbox: its identity is checked first.
declare -A TOUCHES=([1]=1 [2]=1 [5]=1 [6]=1 [7]=1 [8]=1 [9]=1 [10]=1)

look() { # NUMBER
    STATE='' FOUND='' LEFTOVER=''
    step "$1" look
}

step() { # NUMBER look|make|undo|needed
    case "$1 $2" in
        # 1: gives the sandbox's namespace a name; ip netns list shows it now
        '1 look') look_name "$NETNS" "/proc/$PID/ns/net" ;;
        '1 make') ip netns attach "$NETNS" "$PID" ;;
        '1 undo') ip netns del "$NETNS" ;;

        # 2: a virtual cable with two ends
        '2 look') look_veth "$HOST_IF" ;;
        '2 make') ip link add name "$HOST_IF" type veth peer name "$IFNAME" address "$MAC" mtu "$MTU" netns "$NETNS" ;;
        '2 undo') ip link del dev "$HOST_IF" ;;

        # 3: plugs the host's end into the bridge
        '3 look') look_port "$HOST_IF" "$BRIDGE" ;;
        '3 make') ip link set dev "$HOST_IF" master "$BRIDGE" ;;

        # 4: switches the host's end on
        '4 look') look_up host "$HOST_IF" ;;
        '4 make') ip link set dev "$HOST_IF" up ;;

        # 5: switches the sandbox's end on
        '5 look') look_up sandbox "$IFNAME" ;;
        '5 make') ip -n "$NETNS" link set dev "$IFNAME" up ;;

        # 6: the sandbox's address on the network
        '6 look') look_address sandbox "$IFNAME" "$ADDRESS" 32 ;;
        '6 make') ip -n "$NETNS" addr add "$ADDRESS" dev "$IFNAME" ;;

        # 7: the sandbox's address on the network
        '7 look') look_address sandbox "$IFNAME" "$ADDRESS_2" 128 ;;
        '7 make') ip -n "$NETNS" addr add "$ADDRESS_2" dev "$IFNAME" nodad ;;

        # 8: sends everything else to the gateway
        '8 look') look_route sandbox 4 default "$GATEWAY" "$IFNAME" 0 ;;
        '8 make') ip -n "$NETNS" route add default via "$GATEWAY" dev "$IFNAME" ;;

        # 9: sends everything else to the gateway
        '9 look') look_route sandbox 6 default "$GATEWAY_6" "$IFNAME" 0 ;;
        '9 make') ip -n "$NETNS" route add default via "$GATEWAY_6" dev "$IFNAME" ;;

        # 10: a route that was asked for
        '10 look') look_route sandbox 4 "$ROUTE" "$GATEWAY" "$IFNAME" 0 ;;
        '10 make') ip -n "$NETNS" route add "$ROUTE" via "$GATEWAY" dev "$IFNAME" ;;
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

start_time() { # PID: when the process started; a pid alone is given out again
    local text fields
    { text=$(<"/proc/$1/stat"); } 2>/dev/null || return
    read -r -a fields <<<"${text##*)}"
    printf '%s' "${fields[19]}"
}

find_sandbox() {
    if ! hold "/proc/$PID/ns/net"; then
        WHY+=("/proc/$PID/ns/net leads to no network namespace")
        stop 5 "cannot $TITLE: there is no such sandbox" unchanged
    fi
    NS_ID=$(namespace_of "/proc/$$/fd/$NS_FD")
    [[ $NS_ID != "$(namespace_of /proc/self/ns/net)" ]] ||
        refuse "the sandbox has no network namespace of its own: it is in this one, $NS_ID"
    STARTED=$(start_time "$PID")
    TRY=('export the script again' 'empty the EXPECT_ variables, to take what is there')
    [[ -z $EXPECT_NETNS || $NS_ID == "$EXPECT_NETNS" ]] ||
        refuse "the sandbox is $NS_ID, and this script was made for $EXPECT_NETNS"
    [[ -z $EXPECT_STARTTIME || $STARTED == "$EXPECT_STARTTIME" ]] ||
        refuse "process $PID is another one than the one that this script was made for"
    TRY=()
}

same_sandbox() { # a pid can be given to another process, and a name to another namespace
    [[ $(start_time "$PID") == "$STARTED" ]] || return
    is_sandbox "/proc/$PID/ns/net" && name_is_ours
}

# --- Apply and undo

check_host() { # everything that would fail half-way
    local n todo=0
    link_of host "$BRIDGE" || refuse "there is no bridge $BRIDGE on this host"
    [[ $LINK == *'"info_kind":"bridge"'* ]] || refuse "$BRIDGE is no bridge"
    for n in "${STEPS[@]}"; do
        look "$n"
        [[ $STATE != conflict ]] || WHY+=("wanted: $SAYS" "but it $FOUND")
        [[ $STATE == present ]] || todo=$((todo + 1))
    done
    ((${#WHY[@]} == 0)) || stop 4 "cannot $TITLE" unchanged
    ((todo)) || { printf 'nothing to do: %s\n' "$(clean "$TITLE")" && exit 0; }
    check_names
    check_address "$ADDRESS" 32
    check_address "$ADDRESS_2" 128
}

check_names() { # a cable that is not there yet must find its names free
    if ! link_of host "$HOST_IF"; then
        ! link_of sandbox "$IFNAME" || refuse "the sandbox has an interface $IFNAME already"
    elif ! ends_meet "$HOST_IF" "$IFNAME"; then
        refuse "$HOST_IF is there, but its other end is not the sandbox's $IFNAME"
    fi
}

check_address() { # CIDR WIDTH: nobody else here has the address
    local words
    read -r -a words <<<"$(ip -o addr show to "${1%/*}/$2" 2>/dev/null)"
    [[ -z ${words[1]-} ]] || refuse "address ${1%/*} is in use: the host's ${words[1]} has it"
    read -r -a words <<<"$(inside ip -o addr show to "${1%/*}/$2" 2>/dev/null)"
    [[ -z ${words[1]-} || ${words[1]} == "$IFNAME" ]] ||
        refuse "address ${1%/*} is in use: the sandbox's ${words[1]} has it"
}

apply() {
    local n
    check_host
    open_notes
    read_notes
    catch_signals
    ASKED=()
    for n in "${STEPS[@]}"; do
        look "$n"
        [[ $STATE == present ]] || carry_out "$n"
    done
    ((SIGNAL == 0)) || roll_back "ended by signal $SIGNAL"
    trap - INT TERM HUP
    printf 'done: %s (%s, verified)\n' "$(clean "$TITLE")" "$(commands "${#RAN[@]}")"
}

carry_out() { # NUMBER
    ((SIGNAL == 0)) || roll_back "ended by signal $SIGNAL"
    [[ $STATE == absent ]] || roll_back "wanted: $SAYS, but it $FOUND"
    [[ -z ${TOUCHES[$1]-} ]] || same_sandbox ||
        roll_back "this is no longer the sandbox that was there at the start, $NS_ID"
    keep "$KEY" || roll_back "the notes in $NOTES cannot be written"
    RAN=("$1" ${RAN[@]+"${RAN[@]}"})
    run "$1" make || roll_back "step $1 failed: ${SAID:-no message}"
    look "$1"
    [[ $STATE == present ]] || roll_back "step $1 did not do what it should: $SAYS"
}

keep() { # LINE...: note what is about to be made
    local line
    for line in "sandbox $NS_ID $NETNS $PID" "$@"; do
        [[ -z $line ]] || noted "$TRACE" "$line" || note "$TRACE" "$line" || return
    done
}

roll_back() { # REASON: take back what this run made, last first
    local n status=1
    trap '' INT TERM HUP
    WHY+=("$1")
    ((SIGNAL == 0)) || status=$((128 + SIGNAL))
    ((${#RAN[@]})) || stop "$((SIGNAL ? status : 4))" "cannot $TITLE" unchanged
    for n in "${RAN[@]}"; do
        take_back "$n"
    done
    for n in "${RAN[@]}"; do
        look "$n"
        # The folder may hold somebody else's names by now, and a MAC that is kept does no harm.
        [[ $STATE != present || ${SCOPE[$n]-} == host ]] || { status=8 && WHY+=("left: $SAYS"); }
    done
    ((status != 8)) || stop 8 "cannot $TITLE" 'NOT as before: what is above could not be taken back'
    restore_notes
    stop "$status" "cannot $TITLE" 'as before: what ran was taken back'
}

take_back() { # NUMBER: undo a step, where it has an undo and there is something to undo
    [[ -n ${UNDO[$1]-} ]] || return
    look "$1"
    [[ $STATE == present || -n $LEFTOVER ]] || return
    [[ -z ${TOUCHES[$1]-} ]] || name_is_ours || { WHY+=("$NETNS leads elsewhere by now") && return; }
    run "$1" undo
    DONE=$((DONE + 1))
    # A sandbox that dies takes its cable along: what is gone need not be undone.
    look "$1"
    [[ $STATE != present && -z $LEFTOVER || ${SCOPE[$1]-} == host ]] ||
        WHY+=("the undo of step $1 failed: ${SAID:-no message}")
}

undo() {
    local at n handed=''
    [[ -d $NOTES ]] && open_notes
    recall || { printf 'nothing to undo: %s\n' "$(clean "$TITLE")" && exit 0; }
    trap '' INT TERM HUP
    for ((at = ${#STEPS[@]} - 1; at >= 0; at--)); do
        n=${STEPS[at]}
        look "$n"
        ! stays "$n" || continue
        if [[ ${SCOPE[$n]-} == sandbox ]] && other_endpoint; then
            note "$NOTES/$OTHER.made" "$KEY"
            handed=$n
            continue
        fi
        take_back "$n"
    done
    for n in "${STEPS[@]}"; do
        look "$n"
        [[ $STATE != present || $n == "$handed" ]] || stays "$n" || WHY+=("left: $SAYS")
    done
    ((${#WHY[@]} == 0)) || stop 8 "cannot undo: $TITLE" 'NOT as before: what is above could not be taken back'
    rm -f -- "$TRACE"
    printf 'undone: %s (%s)\n' "$(clean "$TITLE")" "$(commands "$DONE")"
}

stays() { # NUMBER: whether what was looked up is not to be undone: it is the host's, others', or needed
    case ${SCOPE[$1]-} in
        host) return 0 ;;
        firewall) ;; # these chains are nettool's, whoever made them
        *) noted "$TRACE" "$KEY" || return 0 ;;
    esac
    step "$1" needed
}

recall() { # which sandbox it was, from the notes: it may be gone by now
    local line path paths
    line=$(noted_sandbox) && read -r _ NS_ID NETNS PID <<<"$line" || return
    NS_FD=''
    paths=("/var/run/netns/$NETNS" "/proc/$PID/ns/net")
    for path in "${paths[@]}"; do
        [[ $(namespace_of "$path") != "$NS_ID" ]] || { hold "$path" && return; }
    done
    return 0
}

noted_sandbox() {
    local line
    while read -r line; do
        [[ $line != 'sandbox '* ]] || { printf '%s' "$line" && return; }
    done 2>/dev/null <"$TRACE"
    return 1
}

other_endpoint() { # whether the sandbox has another endpoint of nettool's; OTHER is its host end, or its alias
    local name id links pattern='"ifalias":"(nt[0-9a-f]{10})"'
    find_number
    [[ -n $NUMBER ]] || return
    while read -r _ name _; do
        OTHER=${name%%@*}
        [[ $OTHER =~ ^nt[0-9a-f]{10}$ && $OTHER != "$HOST_IF" ]] || continue
        link_of host "$OTHER" || continue
        number id link_netnsid
        [[ $id != "$NUMBER" ]] || return 0
    done <<<"$(ip -o link show type veth 2>/dev/null)"
    links=$(inside ip -json -details link show 2>/dev/null)
    while [[ $links =~ $pattern ]]; do
        OTHER=${BASH_REMATCH[1]}
        [[ $OTHER == "$HOST_IF" ]] || return 0
        links=${links#*"\"ifalias\":\"$OTHER\""}
    done
    return 1
}

is_of_this() { # LINE: whether the notes are this sandbox's
    local id name pid
    read -r _ id name pid <<<"$1"
    # The number of a namespace that is gone is given again.
    [[ $id == "$NS_ID" ]] &&
        [[ $(namespace_of "/var/run/netns/$name") == "$id" || $(namespace_of "/proc/$pid/ns/net") == "$id" ]]
}

read_notes() { # what was there before this run; what another sandbox has left behind is cleared away
    local line
    line=$(noted_sandbox)
    [[ -z $line ]] || is_of_this "$line" || { (undo) >/dev/null || exit; }
    [[ ! -f $TRACE ]] || BEFORE=$(<"$TRACE")
}

restore_notes() {
    rm -f -- "$TRACE"
    [[ -z $BEFORE ]] || note "$TRACE" "$BEFORE"
}

main() {
    (($# <= 1)) || mistaken
    check_values
    TITLE="attach pid:$PID to $BRIDGE as $IFNAME"
    TRACE=$NOTES/"$HOST_IF.made" BEFORE='' DONE=0
    OTHER=''
    STARTED=''
    trap '' PIPE
    case ${1-apply} in
        apply) check_tools && find_sandbox && apply ;;
        check) check_tools && find_sandbox && check ;;
        undo) check_tools && undo ;;
        -h | --help) usage ;;
        *) mistaken ;;
    esac
}

main "$@"
exit 0
