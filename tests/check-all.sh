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

# What a run needs, and the run itself. Another compiler and sanitizers are for the code, not for how
# long things take: long cases, which are about time, are for the first run.
built_plain() { configured plain --enable-werror; }
run_plain() { built_plain && check check; }
run_valgrind() { built_plain && DISPATCH_VALGRIND=1 check check-unit; }
run_memory() { built_plain && DISPATCH_LONG='' check check-memory; }

built_clang() { configured clang --enable-werror CC=clang && check build-unit && check build-race; }
run_clang() { built_clang && check check-unit && check check-race; }

built_address() { configured address --enable-sanitizers=address,undefined && check build-unit; }
run_address() { built_address && check check-unit; }
run_hostile() { built_address && DISPATCH_LONG='' check check-system; }

run_msan() { configured msan CC=clang --enable-sanitizers=memory && check check-parsers; }

built_thread() { configured thread --enable-sanitizers=thread && check build-race; }
run_thread() {
    built_thread && check check-race &&
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
        clang | address | thread) ("built_$run") ;;
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
