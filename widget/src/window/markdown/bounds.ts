/**
 * Bounds on the cost of one answer. Real answers stay far below them; anything beyond is shown as text, so nothing is lost.
 * They are kept in one file because together they limit an answer's elements and the work per update.
 */

/** Nested lists and quotes. */
export const DEEPEST_BLOCK = 12;

/** Nested emphasis, links and tags. */
export const DEEPEST_INLINE = 20;

/** Columns per table. */
export const MOST_COLUMNS = 40;

/** Cells per table, including its head. */
export const MOST_CELLS = 1500;

/** Elements per answer, not counting list elements and those of the block that reaches the limit. */
export const MOST_ELEMENTS = 3000;

/** Link definitions (`[label]: address`). Each new one causes the answer to be parsed again. */
export const MOST_DEFINITIONS = 50;

/** Characters per paragraph, heading or cell. */
export const LONGEST_TEXT = 8000;
