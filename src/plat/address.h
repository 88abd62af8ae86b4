/* plat/address — socket addresses as people write them: "127.0.0.1", "::1", "[::1]", "localhost", a name.
 *
 * Owns nothing. Callers: http/ (where to listen), cli/ (where to connect). A name is looked up once; of several
 * addresses the first of IPv4 is taken, else the first. Refuses what is neither an address nor a name that is known. */
#ifndef PLAT_ADDRESS_H
#define PLAT_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

typedef struct plat_address {
    struct sockaddr_storage of;
    socklen_t len;
} plat_address;

bool plat_address_find(plat_address *a, const char *host, uint16_t port, err *e);
uint16_t plat_address_port(const plat_address *a);
bool plat_address_is_loopback(const plat_address *a);

/* As it stands in a URL: an IPv6 address in brackets. */
enum { PLAT_URL_HOST_BYTES = 256 };
const char *plat_url_host(const char *host, char out[PLAT_URL_HOST_BYTES]);

#endif
