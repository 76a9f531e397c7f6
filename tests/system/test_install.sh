#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make install` leaves behind, and that a plugin author needs nothing else.
set -u
cd "${BUILDDIR:?}" || exit 99
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR DISPATCH_PLUGIN_PATH

work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
root=$work/root

n=0
# check NAME COMMAND...: a case that passes if the command succeeds.
check() {
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$work/output" 2>&1; then
        echo "ok $n - $name"
    else
        sed 's/^/# /' "$work/output"
        echo "not ok $n - $name"
    fi
}
installed() { # installed PATTERN...: each matches a path under $root
    for pattern; do
        find "$root" -path "*$pattern" | grep . || { echo "missing: $pattern" && return 1; }
    done
}
same() { [ "$1" = "$2" ] || { echo "seen: $1" && echo "wanted: $2" && false; }; }
none() { same "$(find "$root" "$@")" ""; } # none FIND-ARGUMENTS...
exported() { nm -D --defined-only --format=posix "$1" | cut -d' ' -f1 | grep -v '^__\(a\|ub\)san'; }

check "make install under DESTDIR" make -s install DESTDIR="$root"

export PKG_CONFIG_PATH="$BUILDDIR"
plugindir=$root$(pkg-config --variable=plugindir dispatch-plugin)
host=$(find "$root" -path '*/bin/dispatch-host')

check "program, header, pkg-config file" \
    installed /bin/dispatch-host /include/dispatch-plugin.h /pkgconfig/dispatch-plugin.pc
check "plugins" installed /plugins/balancer-rr.so /plugins/balancer-leastconn.so \
    /plugins/balancer-failover.so /plugins/balancer-hash.so /plugins/balancer-p2c.so \
    /plugins/balancer-random.so /plugins/balancer-adaptive.so \
    /plugins/dialer-http.so /plugins/dialer-iface.so /plugins/dialer-socks.so
check "manual pages" installed '/man8/dispatch-host.8' '/man3/dispatch-plugin.3' '/man7/*balancer-rr*.7' \
    '/man7/*balancer-leastconn*.7' '/man7/*dialer-http*.7' '/man7/*dialer-iface*.7' \
    '/man7/*dialer-socks*.7'
check "an example of the configuration" installed /dispatch/dispatch.yaml.example
check "no dispatch.yaml that would be read" none -path '*/etc/*' -name dispatch.yaml
check "the module for danted" installed /lib/dispatch/dispatch-dante.so
drop_in=$(find "$root" -path '*/danted.service.d/dispatch.conf')
check "its drop-in for systemd names what is installed" \
    ls -d "$root$(sed -n 's/^Environment=LD_PRELOAD=//p' "$drop_in")" \
    "$(dirname "$root$(sed -n 's/^Environment=DISPATCH_CONFIG=//p' "$drop_in")")" \
    "$root$(sed -n 's|^#.* cp -r \(/[^ ]*\) .*|\1|p' "$drop_in")"
check "no drop-in that would be read" none -path '*/systemd/system/*' -name '*.conf'
unit=$(find "$root" -path '*/lib/systemd/system/dispatch-host.service')
check "the unit for systemd names what is installed" ls -d $(sed -n \
    "s|^ExecStart=\([^ ]*\) -c \(.*\)/dispatch.yaml\$|$root\1 $root\2|p" "$unit")
check "the unit for its socket, of the name in the manual" \
    grep -qx FileDescriptorName=dispatch "${unit%.service}.socket"
check "no libtool archives" none -name '*.la'
check "nothing that others may write" none ! -type l -perm /022

check "pkg-config: no library to link" same "$(pkg-config --libs dispatch-plugin)" ""
header=$(find "$root" -name dispatch-plugin.h)
check "pkg-config: abi is the header's" same "$(pkg-config --variable=abi dispatch-plugin)" \
    "$(sed -n 's/^#define DP_ABI //p' "$header")"
echo '#include "dispatch-plugin.h"' >"$work/alone.c"
check "the header alone, as C11" \
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"${header%/*}" "$work/alone.c"
if cxx=$(command -v c++ || command -v clang++); then
    check "the header alone, as C++17" \
        "$cxx" -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"${header%/*}" -x c++ "$work/alone.c"
fi

# An author's folder far from ours, and nothing but what was installed.
PKG_CONFIG_PATH=$(dirname "$(find "$root" -name dispatch-plugin.pc)")
export PKG_CONFIG_SYSROOT_DIR="$root"
for folder in "$SRCDIR"/examples/*/; do
    example=$(basename "$folder")
    mkdir "$work/$example"
    cp "$folder"/* "$work/$example"
    chmod -R u+w "$work/$example"
    check "$example builds out of tree" make -C "$work/$example"
    check "$example exports dp_plugin alone" \
        same "$(exported "$work/$example/$example.so")" dp_plugin
    export DISPATCH_PLUGIN_PATH="$work/$example:$plugindir"
    check "$example is loaded by the installed host" "$host" --dump-plugin "$example"
    unset DISPATCH_PLUGIN_PATH
done

export DISPATCH_PLUGIN_PATH="$plugindir"
check "the installed host lists the installed plugins" "$host" --list-plugins
unset DISPATCH_PLUGIN_PATH

check "make uninstall" make -s uninstall DESTDIR="$root"
check "leaves nothing" none -type f
echo "1..$n"
