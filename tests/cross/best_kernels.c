/* Whether the kernels chosen here are those named: ctest asks this of emulated processors with and without the
 * dot-product extension, so that no table goes untested unnoticed. */
#include <stdio.h>
#include <string.h>

#include "compute/compute.h"

int main(int argc, char **argv) {
    err e;
    const compute_kernels *best = compute_select(&e);
    const char *name = best ? best->name : e.message, *wanted = argc > 1 ? argv[1] : "";
    printf("%s chosen, %s wanted\n", name, wanted);
    return strcmp(name, wanted) != 0;
}
