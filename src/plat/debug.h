/* plat/debug — switches that make a server do wrong or odd things on purpose, for tests.
 *
 * PLIMSOLL_DEBUG_…=VALUE in the environment counts only beside PLIMSOLL_TESTS=1: nobody gets one by mistake.
 */
#ifndef PLAT_DEBUG_H
#define PLAT_DEBUG_H

#include <stdbool.h>

#include "base/err.h"

/* *value: what the variable `name` says, NULL where it is not set or empty. does: what errors say of it. ERR_USAGE
 * without PLIMSOLL_TESTS=1. */
bool plat_debug_read(const char *name, const char *does, const char **value, err *e);

#endif
