/* A spill file whose payloads are not what was written. */
#ifndef TESTS_UNIT_KV_DAMAGE_H
#define TESTS_UNIT_KV_DAMAGE_H

#include "../test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of n_slots the first n_whole stay as they are. The slots lie at the end of the file, and one more behind them. */
static inline void damage_slots(const char *path, size_t slot_bytes, uint32_t n_slots, uint32_t n_whole) {
    uint8_t bytes[512];
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    off_t end = st.st_size - (off_t)slot_bytes;
    for (off_t at = end - (off_t)((n_slots - n_whole) * slot_bytes); at < end; at += 4096) {
        assert_int_equal(pread(fd, bytes, sizeof bytes, at), sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] ^= 0x5A;
        assert_int_equal(pwrite(fd, bytes, sizeof bytes, at), sizeof bytes);
    }
    close(fd);
}

#endif
