/* cli/nearest — which name was meant by one that is mistyped, for what people type: options, variables, commands.
 *
 * Owns the measure alone (letters left out, added, changed or swapped); callers offer the names one after another.
 * Cases and - against _ do not count. What is not near is no answer: a wrong guess misleads. */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include "base/str.h"

typedef struct cli_nearest {
    str name;
    const char *best;
    unsigned distance; /* of best; what is further away is not near */
} cli_nearest;

void cli_nearest_begin(cli_nearest *n, str mistyped);
void cli_nearest_offer(cli_nearest *n, const char *name);
/* n->best is the first of the nearest then, or NULL. */

#endif
