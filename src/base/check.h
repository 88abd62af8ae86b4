/* base/check — assertion tiers.
 *
 * Owns: the two assertions of the project. CHECK(expression) is cheap, stays on in release and guards our own
 * invariants; CHECK_SLOW(call) makes a call that may walk data structures, and is compiled in only when
 * PLIMSOLL_SLOW_CHECKS is defined (sanitizer builds). Neither may ever depend on input: bytes from a file, a socket or
 * a user give an err, not an assertion.
 *
 * What must hold of a structure stands in one function beside it, thing_check(const thing *), which returns nothing and
 * CHECKs. It is called where the thing passes from hand to hand: when its lock is let go, after a move. One that walks
 * is called by CHECK_SLOW there, and by tests outright.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdbool.h>

_Noreturn void check_failed(const char *file, int line, const char *expression);

#define CHECK(expr) ((expr) ? (void)0 : check_failed(__FILE__, __LINE__, #expr))

#ifdef PLIMSOLL_SLOW_CHECKS
#define CHECK_SLOW(call) (call)
#else
#define CHECK_SLOW(call) ((void)sizeof((call), 0))
#endif

#endif
