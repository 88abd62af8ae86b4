#include "plat/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static struct sockaddr_in *v4_of(const plat_address *a) { return (struct sockaddr_in *)(uintptr_t)&a->of; }
static struct sockaddr_in6 *v6_of(const plat_address *a) { return (struct sockaddr_in6 *)(uintptr_t)&a->of; }

static void set_port(plat_address *a, uint16_t port) {
    if (a->of.ss_family == AF_INET) v4_of(a)->sin_port = htons(port);
    else v6_of(a)->sin6_port = htons(port);
}

/* False when the text is no address. */
static bool parse(plat_address *a, const char *text) {
    *a = (plat_address){.len = 0};
    if (inet_pton(AF_INET, text, &v4_of(a)->sin_addr) == 1) {
        a->of.ss_family = AF_INET;
        a->len = sizeof(struct sockaddr_in);
    } else if (inet_pton(AF_INET6, text, &v6_of(a)->sin6_addr) == 1) {
        a->of.ss_family = AF_INET6;
        a->len = sizeof(struct sockaddr_in6);
    }
    return a->len > 0;
}

static bool look_up(plat_address *a, const char *name, err *e) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int failed = getaddrinfo(name, NULL, &hints, &found);
    if (failed) return err_set(e, ERR_NOT_FOUND, "cannot find host '%.80s': %s", name, gai_strerror(failed));
    const struct addrinfo *best = found;
    while (best && best->ai_family != AF_INET) best = best->ai_next;
    if (!best) best = found;
    *a = (plat_address){.len = best->ai_addrlen};
    memcpy(&a->of, best->ai_addr, best->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

bool plat_address_find(plat_address *a, const char *host, uint16_t port, err *e) {
    char text[PLAT_URL_HOST_BYTES];
    size_t len = strlen(host);
    bool bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    snprintf(text, sizeof text, "%.*s", (int)(bracketed ? len - 2 : len < sizeof text ? len : sizeof text - 1),
             host + bracketed);
    bool is_address = parse(a, text) && (!bracketed || a->of.ss_family == AF_INET6);
    if (!is_address && (strpbrk(host, "[]:/ ") || !*host || len >= sizeof text))
        return err_set(e, ERR_USAGE, "'%.80s' is neither an IPv4 nor an IPv6 address, nor the name of a host", host);
    if (!is_address && !look_up(a, text, e)) return false;
    set_port(a, port);
    return true;
}

uint16_t plat_address_port(const plat_address *a) {
    return ntohs(a->of.ss_family == AF_INET ? v4_of(a)->sin_port : v6_of(a)->sin6_port);
}

bool plat_address_is_loopback(const plat_address *a) {
    if (a->of.ss_family == AF_INET) return ntohl(v4_of(a)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6_of(a)->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6_of(a)->sin6_addr) && v6_of(a)->sin6_addr.s6_addr[12] == 127);
}

const char *plat_url_host(const char *host, char out[PLAT_URL_HOST_BYTES]) {
    bool bare = strchr(host, ':') && host[0] != '[';
    snprintf(out, PLAT_URL_HOST_BYTES, bare ? "[%.*s]" : "%.*s", PLAT_URL_HOST_BYTES - 3, host);
    return out;
}
