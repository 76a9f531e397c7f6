#!/bin/sh
# SPDX-License-Identifier: MIT
# Searches for bytes that break a parser, by libFuzzer, beginning with the parser's corpus:
#   fuzz.sh SRCDIR FOLDER SECONDS COMPILER FLAG...
# What breaks FUZZ_TARGETS is left in FOLDER. They are made of FUZZ_SOURCES, seen from SRCDIR, with
# FUZZ_LIBS.
set -eu
srcdir=$1 folder=$2 seconds=$3
shift 3
set -- "$@" -std=gnu11 -g -O1 -fno-sanitize-recover=all
checks=address,undefined

# Everything in one archive, anew each time: it takes a minute.
rm -rf "$folder/objects" "$folder/core.a"
mkdir -p "$folder/objects"
for source in $FUZZ_SOURCES; do
    case $source in
    *.c) echo "$srcdir/$source -o $folder/objects/$(echo "$source" | tr / -).o" ;;
    esac
done | xargs -P "$(nproc)" -L 1 "$@" -fsanitize=fuzzer-no-link,$checks -c
ar -crs "$folder/core.a" "$folder/objects"/*.o

for path in $FUZZ_TARGETS; do
    target=${path##*/}
    found=$folder/$target
    mkdir -p "$found"
    # shellcheck disable=SC2086 # a list of words
    "$@" -fsanitize=fuzzer,$checks "$srcdir/$path.c" "$folder/core.a" $FUZZ_LIBS -o "$found.run"
    "$found.run" -max_total_time="$seconds" -max_len=20000 -print_final_stats=1 \
        -artifact_prefix="$found-" "$found" "$srcdir/tests/fuzz/corpus/${target#fuzz_}"
done
