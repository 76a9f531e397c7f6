#!/bin/sh
# SPDX-License-Identifier: MIT
# The table of options in each plugin's manual page is the one the plugin has.
set -u
host=${DISPATCH_HOST:?}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

# `  order  enum smooth|block  default smooth  help` -> `order|enum ...|default ...|help`
from_plugin() {
    "$host" --dump-plugin "$1" | sed -n 's/ (.*-file: from a file)$//; s/^  *//; s/   */\t/gp'
}
from_manual() {
    sed -n '/Sy Option/d; /^\.Sh OPTIONS/,/^\.El/s/^\.It \(.* Ta .*\)/\1/p' "$1" | sed 's/ Ta /\t/g'
}

n=0
for manual in "${SRCDIR:?}"/plugins/*/dispatch-*.7; do
    plugin=$(basename "$(dirname "$manual")")
    n=$((n + 1))
    from_plugin "$plugin" >"$work/plugin"
    from_manual "$manual" >"$work/manual"
    "$host" --dump-plugin "$plugin" | grep -q "^options: $(wc -l <"$work/manual")$" &&
        diff "$work/plugin" "$work/manual" >"$work/diff"
    if [ $? -eq 0 ]; then
        echo "ok $n - $plugin: $(wc -l <"$work/manual") options"
    else
        sed 's/^/# /' "$work/diff"
        echo "not ok $n - $plugin"
    fi
    if command -v mandoc >/dev/null; then
        n=$((n + 1))
        if mandoc -Tlint -Wwarning "$manual" >"$work/lint" 2>/dev/null; then
            echo "ok $n - $plugin: mandoc finds nothing"
        else
            sed 's/^/# /' "$work/lint"
            echo "not ok $n - $plugin: mandoc finds nothing"
        fi
    fi
done
echo "1..$n"
