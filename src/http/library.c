/* What libmicrohttpd refuses by itself, in JSON.
 *
 * A request line or headers that overflow its buffer, another version of HTTP, chunks that are none: it answers these
 * with pages of its own, before any callback knows of the request. It queues them as everybody queues answers, by
 * calling MHD_queue_response, a name that is bound when the program is loaded. A function of that name in the program
 * comes first, so the library calls the one below, which answers in its place. Where a build of the library binds the
 * name within itself, its own pages go out, and nothing else changes. */
#include <dlfcn.h>
#include <sys/socket.h>

#include "http/internal.h"

typedef enum MHD_Result queue_function(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response);
static queue_function *queue_in_library;

void http_library_begin(void) { queue_in_library = (queue_function *)dlsym(RTLD_NEXT, "MHD_queue_response"); }

enum MHD_Result http_queue_response(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response) {
    return queue_in_library ? queue_in_library(mhd, status, response) : MHD_NO;
}

static const http_refusal *refusal_of(unsigned status) {
    static const http_refusal rows[] = {
        {413, "body_too_large", "a chunk of the body is larger than --body-limit allows"},
        {414, "uri_too_long", "the path is longer than 2048 bytes"},
        {431, "headers_too_large", "the headers are larger than 12 KiB"},
        {505, "http_version_not_supported", "HTTP/1.1 and HTTP/1.0 are spoken here"},
        {500, "internal_error", "the request could not be answered"},
    };
    static const http_refusal malformed = {400, "malformed_request", "the request is malformed"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == (int)status) return &rows[i];
    return &malformed;
}

/* What has come and will not be read: a socket that is closed over it resets the line, and the answer may be lost. */
static void drop_what_came(const http_conn *c) {
    enum { PIECES_MOST = 64 };
    char piece[16 * 1024];
    for (int i = 0; i < PIECES_MOST && recv(c->fd, piece, sizeof piece, MSG_DONTWAIT) > 0; i++) continue;
}

/* Past the library, as other refusals go. Where the first line was read, the dialect is its path's; headers that came
 * whole before the one that was too many say who may read the answer. Of a line that is too long, or of another version
 * of HTTP, nothing is known but that: the answer is in OpenAI's words, and without CORS headers. */
static void refuse(http_conn *c, struct MHD_Connection *mhd, const http_refusal *why) {
    http_server *s = c->server;
    http_lock(s);
    const http_request asked = http_asked_of(s, mhd, c->url ? c->url : "", "");
    const http_request *known = c->request && c->request->path.len ? c->request : c->url ? &asked : NULL;
    if (c->phase != CONN_REFUSED) http_refuse(c, known, why, NULL);
    http_unlock(s);
}

/* Called by the library alone, on the event thread. At MHD_NO it closes the connection and says nothing itself. */
enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_conn *c = info ? info->socket_context : NULL;
    if (!c) return http_queue_response(mhd, status, response);
    refuse(c, mhd, refusal_of(status));
    drop_what_came(c);
    return MHD_NO;
}
