/* base/hostile — the smallest sizes that must still do.
 *
 * HOSTILE(usual, least) is `least` in the build that is called hostile (tools/test.sh hostile), and `usual` in every
 * other: pieces of one token, one page or one event, blocks of a few bytes. What happens now and then under load
 * happens there all the time, while tests look on with all checks. Only for sizes and rates that are nobody's promise:
 * not for what a client, a file or a plan is told. */
#ifndef BASE_HOSTILE_H
#define BASE_HOSTILE_H

#ifdef PLIMSOLL_HOSTILE
#define HOSTILE(usual, least) (least)
#else
#define HOSTILE(usual, least) (usual)
#endif

#endif
