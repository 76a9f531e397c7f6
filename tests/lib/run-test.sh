#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one test for `make check`, its TAP on standard output:
#   run-test.sh [INTERPRETER] TEST
# Sanitizers and valgrind report to files, because Criterion takes no notice of how its workers
# end: any report fails the test. So do a test that hangs, and one that has no cases.
set -u

here=$(cd "$(dirname "$0")" && pwd)
for test; do :; done # the last argument

work=$(mktemp -d "${TMPDIR:-/tmp}/dispatch-reports.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
mkdir "$work/reports"
chmod 755 "$work"
chmod 1777 "$work/reports" # some tests run the host as nobody

export ASAN_OPTIONS="log_path=$work/reports/address:detect_stack_use_after_return=1"
export LSAN_OPTIONS="suppressions=$here/lsan.supp:print_suppressions=0"
export UBSAN_OPTIONS="log_path=$work/reports/undefined:print_stacktrace=1"
export MSAN_OPTIONS="log_path=$work/reports/memory"
export TSAN_OPTIONS="log_path=$work/reports/thread:second_deadlock_stack=1"

limit=120
may_skip=no
lock=
fail_every=
case $test in
*unit/*)
    set -- "$@" --tap=-
    if [ -n "${DISPATCH_VALGRIND-}" ]; then
        limit=600
        set -- valgrind -q --trace-children=yes --trace-children-skip='/bin/*,/sbin/*,/usr/*' \
            --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
            --vgdb=no --suppressions="$here/valgrind.supp" \
            --log-file="$work/reports/valgrind.%p" "$@"
    fi
    ;;
*compat/* | *system/*)
    limit=900
    case $test in *system/*.py) fail_every=${DISPATCH_FAIL_EVERY-} ;; esac
    export DISPATCH_FAIL_EVERY="$fail_every" DISPATCH_REPORTS="$work/reports"
    may_skip=yes
    # Those that measure times are alone, even under make -j.
    lock='flock -o -s tests/system.lock'
    if grep -q '^# Runs alone' "$test"; then lock='flock -o tests/system.lock'; fi
    # They load plugins that crash; a host that dies of it is seen by the test itself.
    ASAN_OPTIONS="$ASAN_OPTIONS:handle_segv=0:handle_sigbus=0"
    ;;
esac

$lock timeout -k 10 "$limit" "$@" >"$work/tap"
status=$?
if [ -n "$fail_every" ] && ! grep -q '^1\.\.0' "$work/tap"; then
    cases=$(grep -Ec '^(not )?ok ' "$work/tap")
    result='not ok'
    if grep -q "^1\.\.$cases\$" "$work/tap" && [ -z "$(ls "$work/reports")" ]; then
        result=ok
        status=0
    fi
    grep -E '^(not )?ok ' "$work/tap" | sed 's/^/# /'
    echo "$result 1 - no host crashed or hung in ${test##*/}"
    echo 1..1
else
    cat "$work/tap"
fi
[ $status -ne 124 ] || echo "# no end after $limit s"

if ! grep -Eq '^(not )?ok' "$work/tap"; then
    [ $may_skip = yes ] && grep -q '^1\.\.0' "$work/tap" || status=99
fi
for report in "$work/reports"/*; do
    [ -s "$report" ] || continue
    sed "s|^|# ${report##*/}: |" "$report"
    status=99
done
exit "$status"
