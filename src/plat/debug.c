#include "plat/debug.h"

#include <stdlib.h>
#include <string.h>

bool plat_debug_read(const char *name, const char *does, const char **value, err *e) {
    const char *said = getenv(name), *testing = getenv("PLIMSOLL_TESTS");
    *value = said && *said ? said : NULL;
    if (!*value || (testing && !strcmp(testing, "1"))) return true;
    return err_set(e, ERR_USAGE, "%s makes this server %s; it is for tests, which set PLIMSOLL_TESTS=1 beside it", name,
                   does);
}
