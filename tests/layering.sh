#!/bin/sh
# SPDX-License-Identifier: MIT
# The includes run one way only: base <- proto; base <- config <- plugin <- route <- traffic <-
# admin <- host, and route and traffic use proto. Plugins include the public header, the system's, and what
# lies beside them.
set -u
cd "${SRCDIR:?}" || exit 99

# includes FOLDER: lines of "FILE INCLUDED", for what is ours: quoted, or the public header.
includes() {
    find "$1" -name '*.[ch]' -exec grep -HE '^[[:space:]]*#[[:space:]]*include' {} + |
        sed -nE -e 's|^([^:]*):[^"<]*"([^"]*)".*|\1 \2|p' \
            -e 's|^([^:]*):.*<(dispatch-plugin\.h)>.*|\1 \2|p'
}

n=0
# layer NAME FOLDER ALLOWED...: each ALLOWED is a folder of core/, or `.` for FOLDER itself.
layer() {
    name=$1 folder=$2
    shift 2
    allowed='dispatch-plugin\.h'
    for layer; do allowed="$allowed|$layer/[^/]*\.h"; done
    allowed=$(printf %s "$allowed" | sed 's:|\./:|:')
    wrong=$(includes "$folder" | grep -Ev " ($allowed)\$")
    n=$((n + 1))
    if [ -z "$wrong" ]; then
        echo "ok $n - $name"
    else
        echo "$wrong" | sed 's/^\([^ ]*\) /# \1 must not include /'
        echo "not ok $n - $name"
    fi
}

layer "base includes only base" core/base base
layer "proto includes only base" core/proto base proto
layer "config includes only base" core/config base config
layer "plugin includes down to config" core/plugin base config plugin
layer "route includes down to plugin, and proto" core/route base proto config plugin route
layer "traffic includes down to route, and proto" \
    core/traffic base proto config plugin route traffic
layer "host includes core" host . dante import base proto config plugin route traffic admin host
layer "plugins include the public header, and their own" plugins .
layer "examples include the public header alone" examples

# The public header stands on its own.
wrong=$(grep -n '^ *# *include *"' core/plugin/dispatch-plugin.h)
n=$((n + 1))
if [ -z "$wrong" ]; then
    echo "ok $n - the public header includes the system's headers alone"
else
    echo "# $wrong"
    echo "not ok $n - the public header includes the system's headers alone"
fi
echo "1..$n"
