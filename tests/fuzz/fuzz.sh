#!/bin/sh
# SPDX-License-Identifier: MIT
# Searches for bytes that break a parser, by libFuzzer, beginning with its corpus:
#   fuzz.sh FOLDER SECONDS TARGET.c SOURCE...
# What breaks it is left in FOLDER.
set -eu
folder=$1 seconds=$2
shift 2
cd "$(dirname "$0")/../.."

target=$(basename "$1" .c)
found=$folder/$target
mkdir -p "$found"
"${FUZZ_CC:-clang}" -std=gnu11 -g -O1 -Icore/plugin -Iplugins -Itests \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "$@" -o "$found.run"
"$found.run" -max_total_time="$seconds" -max_len=20000 -print_final_stats=1 \
    -artifact_prefix="$found-" "$found" "tests/fuzz/corpus/${target#fuzz_}"
