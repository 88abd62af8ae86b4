/* The embedded model: models/plimsoll-tiny.gguf, linked into the program as it is on disk. */
#include "engine/internal.h"
#include "plat/vm.h"

__asm__(".section .rodata.builtin_model,\"a\"\n"
        ".balign 4096\n"
        "plimsoll_builtin_model:\n"
        ".incbin \"" PLIMSOLL_BUILTIN_MODEL "\"\n"
        "plimsoll_builtin_model_end:\n"
        ".balign 4096\n"
        ".previous\n");

extern const unsigned char plimsoll_builtin_model[], plimsoll_builtin_model_end[];

void engine_builtin(const void **bytes, size_t *len) {
    *bytes = plimsoll_builtin_model;
    *len = (size_t)(plimsoll_builtin_model_end - plimsoll_builtin_model);
}

void engine_builtin_forget(void) {
    const void *bytes;
    size_t len;
    engine_builtin(&bytes, &len);
    plat_vm_forget(bytes, len);
}
