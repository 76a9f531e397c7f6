#!/bin/sh
# SPDX-License-Identifier: MIT
# Plugins of older and newer headers run; each that cannot run is refused with its reason.
set -u
host=${DISPATCH_HOST:?}
work=$(mktemp -d) || exit 99
trap 'kill $echo_pid $host_pid 2>/dev/null; rm -rf "$work"' EXIT
echo_pid='' host_pid=''

mkdir "$work/plugins"
cp "${COMPAT_DIR:-${BUILDDIR:?}/tests/compat/.libs}"/*.so "$work/plugins" || exit 99
echo "this is not a shared object" >"$work/plugins/balancer-text.so"
: >"$work/plugins/balancer-empty.so"
mkdir "$work/plugins/balancer-folder.so"
cp "$work/plugins/balancer-old.so" "$work/plugins/balancer-writable.so"
chmod -R go-w "$work/plugins"
chmod o+w "$work/plugins/balancer-writable.so"

n=0
result() { # result STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        sed 's/^/# /' "$work/out"
        echo "not ok $n - $2"
    fi
}

config() { # config DIALER BALANCER [POOL-OPTIONS]
    cat >"$work/dispatch.yaml" <<YAML
listeners: {main: {listen: "127.0.0.1:0", pool: all}}
links:
  a: {dialer: $1, address: 127.0.0.2}
  b: {dialer: $1, address: 127.0.0.3}
pools:
  all: {balancer: $2, links: [a, b]${3:+, $3}}
YAML
}

# ---- refused: exit 78, and one line that says why ----

refused() { # refused NAME TEXT: --check must fail, and say it
    "$host" --check -c "$work/dispatch.yaml" >"$work/out" 2>&1
    status=$?
    echo "exit status $status; wanted 78 and: $2" >>"$work/out"
    [ $status -eq 78 ] && sed '$d' "$work/out" | grep -Fq -- "$2"
    result $? "$1: $2"
}

while IFS='|' read -r balancer text; do
    config iface "$balancer"
    refused "$balancer" "$text"
done <<'TABLE'
bad-abi|built for plugin ABI 99 and this host has ABI 1
bad-kind|its file name says balancer, but it is not one
bad-name|it calls itself "another": its file name must say the same
bad-size|its dp_plugin is incomplete
bad-opt-size|its option table is broken
bad-opt-type|its option "number" needs a newer host
bad-opt-offset|its option "number" does not fit its conf
bad-null-op|it has no pick()
bad-create|number: this number brings bad luck
bad-silent-create|it refused to start and gave no reason
bad-crash|crash
bad-unresolved|nobody_has_this_function
bad-symbol|is not a dispatch plugin: it has no object dp_plugin
text|cannot load it
empty|cannot load it
folder|is not a file
writable|can be written by others
no-such|no file balancer-no-such.so in
TABLE

cat >"$work/dispatch.yaml" <<'YAML'
links: {a: {dialer: bad-cap}}
YAML
refused dialer-bad-cap "needs a newer host"

# ---- taken, and at work ----

accepted() { # accepted NAME
    "$host" --check -c "$work/dispatch.yaml" >"$work/out" 2>&1
    result $? "$1 is taken"
}

# port_of FILE: the port that a program has written, once it has.
port_of() {
    for _ in $(seq 200); do
        port=$(grep -Eo '(^|on 127\.0\.0\.1:)[0-9]+' "$1" | sed 's/.*://')
        [ -z "$port" ] || break
        sleep 0.1
    done
    echo "$port"
}

leaves_from() { # leaves_from NAME ADDRESS: four connections, all from this address
    "$host" -c "$work/dispatch.yaml" >"$work/log" 2>&1 &
    host_pid=$!
    url=http://127.0.0.1:$echo_port/
    curl -s --max-time 10 -x "socks5h://127.0.0.1:$(port_of "$work/log")" \
        "$url" "$url" "$url" "$url" >"$work/out" 2>&1
    kill "$host_pid"
    wait "$host_pid"
    [ "$(tr '\n' ' ' <"$work/out")" = "$2 $2 $2 $2 " ]
    status=$?
    cat "$work/log" >>"$work/out"
    result $status "$1: all connections leave from $2"
}

echo_port=
if command -v curl >/dev/null; then
    "${BUILDDIR:?}/tests/lib/peer-echo" >"$work/port" &
    echo_pid=$!
    echo_port=$(port_of "$work/port")
fi

while IFS='|' read -r dialer balancer options address; do
    config "$dialer" "$balancer" "$options"
    accepted "dialer $dialer, balancer $balancer${options:+ ($options)}"
    if [ -n "$echo_port" ]; then
        leaves_from "dialer $dialer, balancer $balancer${options:+ ($options)}" "$address"
    fi
done <<'TABLE'
iface|old||127.0.0.3
old|new|first: 0|127.0.0.2
old|old||127.0.0.3
iface|new||127.0.0.3
iface|new|first: 0|127.0.0.2
iface|bad-pick||127.0.0.2
TABLE

echo "1..$n"
