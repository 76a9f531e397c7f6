/* SPDX-License-Identifier: MIT
 * replay.c: main() where there is no libFuzzer: one case for each file of the target's corpus.
 */
#include "fuzz/target.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX 65536

/* The corpus of fuzz_NAME. */
static void folder_of(const char *program, char *path, size_t size)
{
    const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
    const char *source = getenv("SRCDIR");
    snprintf(path, size, "%s/tests/fuzz/corpus/%s", source ? source : ".", name + strlen("fuzz_"));
}

/* Gives the target what the file says; false if it cannot be read. A finding ends the program. */
static int replay(const char *folder, const char *name)
{
    static uint8_t data[FILE_MAX];
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    size_t len = fread(data, 1, sizeof data, file);
    int whole = feof(file);
    fclose(file);
    uint8_t *copy = malloc(len ? len : 1); /* its ends are guarded by the sanitizers */
    if (!copy)
        abort();
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    return whole;
}

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **list;
    char folder[3000];
    int failed = 0;
    (void)argc;
    folder_of(argv[0], folder, sizeof folder);
    int n = scandir(folder, &list, is_file, alphasort);
    if (n <= 0) {
        printf("Bail out! no corpus: %s\n", folder);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        int ok = replay(folder, list[i]->d_name);
        failed += !ok;
        printf("%sok %d - %s\n", ok ? "" : "not ", i + 1, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    printf("1..%d\n", n);
    return failed > 0;
}
