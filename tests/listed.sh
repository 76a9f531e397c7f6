#!/bin/sh
# SPDX-License-Identifier: MIT
# Every source, test and manual page is named in a makefile fragment: nothing in the tree is left
# unbuilt, untested, or out of the release.
set -u
cd "${SRCDIR:?}" || exit 99

# The names in all fragments, one a line, %D% written out.
folders='bench core plugins host tests examples doc'
# shellcheck disable=SC2086 # a list of words
names=$(find $folders -name Makefile.inc | while read -r fragment; do
    sed "s|%D%|$(dirname "$fragment")|g" "$fragment" | tr -s '\\ \t=' '\n'
done)

n=0
# listed PATTERN [FOLDER...]: the files of that name in these folders.
listed() {
    pattern=$1
    shift
    missing=$(find "$@" -name "$pattern" | sort | while read -r file; do
        # A source alone in its program or module is named by that.
        printf '%s\n' "$names" | grep -Fxq -e "$file" -e "${file%.c}" -e "${file%.c}.la" ||
            echo "$file"
    done)
    n=$((n + 1))
    if [ -z "$missing" ]; then
        echo "ok $n - each $pattern in $* is named"
    else
        echo "$missing" | sed 's/$/ is in no Makefile.inc/; s/^/# /'
        echo "not ok $n - each $pattern in $* is named"
    fi
}

listed '*.[ch]' bench core plugins host examples tests
listed '*.py' bench tests
listed '*.sh' tests
listed '*.[1-8]' doc plugins
listed '*.yaml' examples
echo "1..$n"
