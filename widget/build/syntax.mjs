/** Helpers for the build's source transformations. */

/** Visits every node of a syntax tree. */
export function* nodesOf(value) {
  if (typeof value?.type === 'string') yield value;
  if (value && typeof value === 'object') for (const child of Object.values(value)) yield* nodesOf(child);
}

/** Applies replacements to a source: [start, end, text]. */
export function changed(code, edits) {
  let text = code;
  for (const [start, end, other] of edits.sort(([one], [other]) => other - one)) {
    text = text.slice(0, start) + other + text.slice(end);
  }
  return text;
}
