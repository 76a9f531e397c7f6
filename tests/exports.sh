#!/bin/sh
# SPDX-License-Identifier: MIT
# A plugin exports its one object and needs nothing of ours; the host lends its symbols to nobody.
set -u
cd "${BUILDDIR:?}" || exit 99

ours=$(nm --defined-only .libs/libdispatch.a 2>/dev/null | sed -n 's/.* [A-TV-Z] //p' | sort -u)

n=0
result() { # result NAME WRONG
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        echo "$2" | sed 's/^/# /'
        echo "not ok $n - $1"
    fi
}

result "the core has symbols" "$([ -n "$ours" ] || echo 'nm found none in .libs/libdispatch.a')"
for plugin in plugins/.libs/*.so; do
    name=$(basename "$plugin")
    result "$name exports dp_plugin alone" \
        "$(nm -D --defined-only --format=posix "$plugin" | cut -d' ' -f1,2 |
            grep -vx 'dp_plugin [BDR]')"
    result "$name exports dp_plugin" \
        "$(nm -D --defined-only "$plugin" | grep -q ' dp_plugin$' || echo 'no dp_plugin')"
    result "$name needs no symbol of ours" \
        "$(nm -D --undefined-only --format=posix "$plugin" | cut -d' ' -f1 | sed 's/@.*//' |
            grep -Fx -e "$ours")"
done
result "dispatch-host exports none of the core" \
    "$(nm -D --defined-only --format=posix host/dispatch-host | cut -d' ' -f1 |
        grep -Fx -e "$ours")"
hooks='accept bind close connect daemon dup2 getsockname listen recvmsg sendmsg wait3'
result "dispatch-dante.so exports what it stands before, and nothing else" \
    "$(nm -D --defined-only --format=posix host/dante/.libs/dispatch-dante.so | cut -d' ' -f1 |
        sort | tr "\n" " " | grep -vx "$hooks ")"
result "dispatch-dante.so has no loop and no thread" \
    "$(nm -D --undefined-only host/dante/.libs/dispatch-dante.so |
        grep -E ' (epoll_|eventfd|pthread_create|fork)')"
echo "1..$n"
