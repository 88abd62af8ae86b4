/* text/unicode/ — what Unicode says of a character: its case, its class, what it folds to.
 *
 * Vocabularies (uncased WordPiece) and chat templates (Python's string methods) ask. Pure functions over tables that
 * tools/ writes; owns nothing, takes no memory, refuses nothing: what is no character has no case and no class.
 */
#ifndef TEXT_UNICODE_UNICODE_H
#define TEXT_UNICODE_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* How it is written in upper or lower case, and at a word's beginning: 1 to 3 characters into out, their count. */
uint32_t unicode_upper(uint32_t cp, uint32_t out[3]);
uint32_t unicode_lower(uint32_t cp, uint32_t out[3]);
uint32_t unicode_title(uint32_t cp, uint32_t out[3]);
bool unicode_has_case(uint32_t cp);

/* As Python's str.isprintable, isalpha, isnumeric, isdigit, isdecimal, isupper, islower say of one character. */
bool unicode_is_printable(uint32_t cp);
bool unicode_is_alpha(uint32_t cp);
bool unicode_is_numeric(uint32_t cp);
bool unicode_is_digit(uint32_t cp);
bool unicode_is_decimal(uint32_t cp);
bool unicode_is_upper(uint32_t cp);
bool unicode_is_lower(uint32_t cp);
bool unicode_is_word(uint32_t cp); /* as \w of Python's patterns */

/* What a character becomes for uncased WordPiece (lower case, without accents): up to three, or none; their count. */
int unicode_fold(uint32_t c, uint32_t out[3]);
/* Where uncased WordPiece cuts words: at blanks, and around punctuation and CJK characters. */
bool unicode_is_blank(uint32_t c);
bool unicode_is_punctuation(uint32_t c);
bool unicode_is_cjk(uint32_t c);

#endif
