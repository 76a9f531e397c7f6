#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and tests the tree in several ways, each in a folder of its own:
#   check-all.sh SOURCE FOLDER RUN...
# `./quickstart test` and `make check-all` say which runs. Goes on after a failure; exits 1 then.
set -u

source=$(cd "$1" && pwd) || exit 1
mkdir -p "$2" && folder=$(cd "$2" && pwd) || exit 1
shift 2
jobs=$(nproc)
failed=

# configured FOLDER ARGS...: goes to a build folder, which keeps what it was configured with.
configured() {
    mkdir -p "$folder/$1" && cd "$folder/$1" || return
    shift
    [ -f config.status ] || "$source/configure" --quiet "$@" || return
    make -s -j"$jobs"
}
check() {
    VERBOSE=1 make -s -k -j"$jobs" "$@"
}

run_plain() { configured plain --enable-werror && check check; }
run_clang() { configured clang --enable-werror CC=clang && check check; }
run_valgrind() { configured plain --enable-werror && DISPATCH_VALGRIND=1 check check-unit; }
configured_address() { configured address --enable-sanitizers=address,undefined; }
run_address() { configured_address && check check-unit; }
run_hostile() { configured_address && check check-system; }
run_memory() { configured plain --enable-werror && check check-memory; }
run_msan() { configured msan CC=clang --enable-sanitizers=memory && check check-parsers; }
configured_thread() { configured thread --enable-sanitizers=thread; }
run_thread() {
    configured_thread && check check-race &&
        check check TESTS=tests/system/test_turnover.py check_PROGRAMS= check_LTLIBRARIES=
}

# Tests of the first run wait more than they work: what others need is built beside them, without
# haste. Whatever fails of that shows when it is their turn.
(
    jobs=1
    renice -n 15 -p "$(sh -c 'echo $PPID')" >/dev/null
    shift
    for run; do
        case $run in
        address) (configured_address && check build-unit) ;;
        thread) (configured_thread && check build-race) ;;
        esac
    done
) >"$folder/ahead.log" 2>&1 &
ahead=$!

for run; do
    [ "$run" = "$1" ] || wait "$ahead"
    echo "== $run"
    ("run_$run") || failed="$failed $run"
done
[ -z "$failed" ] && exit 0
echo "failed:$failed" >&2
exit 1
