/** What the build's own changes of sources share. */

/** Each node of a syntax tree. */
export function* nodesOf(value) {
  if (typeof value?.type === 'string') yield value;
  if (value && typeof value === 'object') for (const child of Object.values(value)) yield* nodesOf(child);
}

/** A source with other text in some places: from where, to where, what. */
export function changed(code, edits) {
  let text = code;
  for (const [start, end, other] of edits.sort(([one], [other]) => other - one)) {
    text = text.slice(0, start) + other + text.slice(end);
  }
  return text;
}
