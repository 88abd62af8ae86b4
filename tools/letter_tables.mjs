// Writes src/text/unicode/letter_tables.h: how JavaScript changes the case of letters (String.prototype.toUpperCase and
// toLowerCase of the node that runs this), for chat templates.   node tools/letter_tables.mjs >src/text/unicode/letter_tables.h
const points = (s) => [...s].map((c) => c.codePointAt(0));
const hex = (n) => "0x" + n.toString(16).toUpperCase().padStart(4, "0");

function tables(change) {
  const ranges = [], several = [];
  for (let cp = 0x80; cp < 0x110000; cp++) {
    if (cp >= 0xd800 && cp < 0xe000) continue;
    const to = points(change(String.fromCodePoint(cp)));
    if (to.length > 1) several.push([cp, ...to, 0, 0].slice(0, 4));
    else if (to[0] !== cp) {
      const last = ranges.at(-1), delta = to[0] - cp;
      const step = last ? cp - last.last : 0;
      if (last && last.delta === delta && (last.first === last.last ? step <= 2 : step === last.step)) {
        last.last = cp;
        last.step = step;
      } else ranges.push({ first: cp, last: cp, step: 1, delta });
    }
  }
  return { ranges, several };
}

function rows(cells) {
  const lines = [""];
  for (const cell of cells) {
    if (lines.at(-1).length + cell.length > 108) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "    ") + cell + ",";
  }
  return lines.join("\n");
}

const upper = tables((s) => s.toUpperCase()), lower = tables((s) => s.toLowerCase());
const shift = (t) => rows(t.ranges.map((r) => `{${hex(r.first)}, ${hex(r.last)}, ${r.step}, ${r.delta}}`));
const many = (t) => rows(t.several.map((r) => `{${r.map(hex).join(", ")}}`));
console.log(`/* text/unicode/letter_tables — how letters beyond ASCII change their case. Written by tools/letter_tables.mjs from
 * Unicode ${process.versions.unicode}: do not edit. */
#ifndef TEXT_UNICODE_LETTER_TABLES_H
#define TEXT_UNICODE_LETTER_TABLES_H

#include "text/unicode/internal.h"

static const unicode_shift upper_shifts[] = {
${shift(upper)}
};

static const unicode_several upper_several[] = {
${many(upper).replaceAll(/\{(\w+), (\w+), (\w+), (\w+)\}/g, "{$1, {$2, $3, $4}}")}
};

static const unicode_shift lower_shifts[] = {
${shift(lower)}
};

static const unicode_several lower_several[] = {
${many(lower).replaceAll(/\{(\w+), (\w+), (\w+), (\w+)\}/g, "{$1, {$2, $3, $4}}")}
};

#endif`);
