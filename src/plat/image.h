/* plat/image — the program itself in memory: its file and its libraries', code and constants.
 *
 * These pages are file-backed and come in as they are touched, so a process that reserves every byte
 * still grows by them. Owns nothing; mem/books calls it to book them under `runtime`.
 */
#ifndef PLAT_IMAGE_H
#define PLAT_IMAGE_H

#include <stdint.h>

/* Makes all code present now, so that the figure does not creep while serving. Code only: constants
 * may hold an embedded model. With this project's libraries (TLS among them): 2.4 MiB more at start,
 * out of the 5.2 MiB that would come in by and by. */
void plat_image_load_code(void);

/* What of the image's file, written to or not, is present in this process. Counted page by page from
 * /proc/self/pagemap; without it, RssFile as far as the image can explain it. */
uint64_t plat_image_resident_bytes(void);

#endif
