/**
 * Bounds on what one answer may cost. Real answers stay far below them; what is beyond is shown as text, so no words are lost.
 * In one place, because together they bound an answer's elements and the work for each update.
 */

/** Lists and quotes inside each other. */
export const DEEPEST_BLOCK = 12;

/** Emphasis, links and tags inside each other. */
export const DEEPEST_INLINE = 20;

/** Columns of a table. */
export const MOST_COLUMNS = 40;

/** Cells of a table, its head included. */
export const MOST_CELLS = 1500;

/** Elements of an answer, lists' own and those of the block that reaches the bound apart. */
export const MOST_ELEMENTS = 3000;

/** Definitions of links (`[label]: address`): each new one has the answer read again. */
export const MOST_DEFINITIONS = 50;

/** Characters of a paragraph, a heading or a cell. */
export const LONGEST_TEXT = 8000;
