#include "plat/image.h"

#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plat/kernel.h"
#include "plat/vm.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; on older kernels code comes in as it runs */
#endif

typedef struct pages {
    uintptr_t start;
    size_t count;
} pages;

/* The whole pages that hold a segment's bytes of the file. */
static pages segment_pages(const struct dl_phdr_info *object, const ElfW(Phdr) *segment) {
    size_t page = plat_page_bytes();
    uintptr_t start = object->dlpi_addr + segment->p_vaddr, end = start + segment->p_filesz;
    start &= ~(page - 1);
    return (pages){start, (end - start + page - 1) / page};
}

static int load_code(struct dl_phdr_info *object, size_t size, void *ctx) {
    (void)size, (void)ctx;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        pages p = segment_pages(object, segment);
        (void)madvise((void *)p.start, p.count * plat_page_bytes(), MADV_POPULATE_READ);
    }
    return 0;
}

void plat_image_load_code(void) { (void)dl_iterate_phdr(load_code, NULL); }

typedef struct census {
    int pagemap; /* -1: only the segments' sizes are known */
    uint64_t pages;
} census;

static uint64_t count_present(int pagemap, pages p) {
    const uint64_t here = UINT64_C(3) << 62; /* present or swapped out: both in the kernel's figure */
    uint64_t entries[256], found = 0;
    for (size_t done = 0; done < p.count;) {
        size_t n = p.count - done < 256 ? p.count - done : 256;
        off_t at = (off_t)((p.start / plat_page_bytes() + done) * sizeof entries[0]);
        ssize_t got = pread(pagemap, entries, n * sizeof entries[0], at);
        if (got < (ssize_t)sizeof entries[0]) break;
        size_t read = (size_t)got / sizeof entries[0];
        for (size_t i = 0; i < read; i++) found += (entries[i] & here) != 0;
        done += read;
    }
    return found;
}

static int count_object(struct dl_phdr_info *object, size_t size, void *ctx) {
    (void)size;
    census *c = ctx;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD) continue;
        pages p = segment_pages(object, segment);
        c->pages += c->pagemap >= 0 ? count_present(c->pagemap, p) : p.count;
    }
    return 0;
}

uint64_t plat_image_resident_bytes(void) {
    census c = {.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
    (void)dl_iterate_phdr(count_object, &c);
    uint64_t bytes = c.pages * plat_page_bytes();
    if (c.pagemap >= 0) {
        close(c.pagemap);
        return bytes;
    }
    plat_process_memory now;
    (void)plat_process_memory_read(&now);
    return now.rss_file_bytes < bytes ? now.rss_file_bytes : bytes;
}
