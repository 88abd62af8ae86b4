/* base/check — assertion tiers.
 *
 * Owns: the two assertions of the project. CHECK is cheap, stays on in release and guards our own
 * invariants; CHECK_SLOW may walk data structures and is compiled in only when PLIMSOLL_SLOW_CHECKS
 * is defined (sanitizer builds). Neither may ever depend on input: bytes from a file, a socket or a
 * user give an err, not an assertion.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdbool.h>

_Noreturn void check_failed(const char *file, int line, const char *expression);

#define CHECK(expr) ((expr) ? (void)0 : check_failed(__FILE__, __LINE__, #expr))

#ifdef PLIMSOLL_SLOW_CHECKS
#define CHECK_SLOW(expr) CHECK(expr)
#else
#define CHECK_SLOW(expr) ((void)sizeof((expr) ? 1 : 0))
#endif

#endif
