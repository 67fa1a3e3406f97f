import { sourceList } from './address.ts';
import { addLine, copyAnswer, createAnswer, DEFINITION, endAnswer } from './blocks.ts';
import { MOST_DEFINITIONS } from './bounds.ts';
import type { Ending, MarkdownLabels, TreeElement } from './tree.ts';

/** A line with only markers, or the start of a fence: ambiguous until more text arrives. */
const MARKERS = /^[\s>*+_=~`|:#\d.()[\]^xX-]*$/;
const FENCE = /^[\s>*+\d.)-]*(?:`{3,}[^`]*$|~{3})/;
/** Whether an incomplete line is hidden: for now, or for good if the text was cut off. */
const waits = (line: string, ending: Ending): boolean =>
  ending !== 'whole' &&
  ((FENCE.test(line) && (ending === 'growing' || /^[\s>*+\d.)`~-]*[\w+#.-]*\s*$/.test(line))) ||
    (MARKERS.test(line) && (ending === 'growing' || !/[\dx]/i.test(line))));

/**
 * Parses a growing text: takes the whole text so far and returns the nodes to show. Each line is parsed once, and finished blocks
 * keep their identity. A text that doesn't continue the previous one starts over. `done` and `cut` mark the end as final, but
 * after a cut, incomplete markup is shown as if it were closed. Cited `sources` are listed below. `site` is the host page's
 * address.
 */
export function createParser(strings: MarkdownLabels, site = '') {
  let source = '';
  let shown: TreeElement[] = [];
  let shownAs: Ending | undefined;
  /** The complete lines, and the rest after them. */
  let answer = createAnswer({ strings, site, sources: [], known: new Map() });
  let line = '';

  const startOver = (known: Map<string, string>, sources = answer.sources) => {
    answer = createAnswer({ strings, site, sources, known });
    source = '';
    line = '';
  };
  /** A label's first definition wins. One that follows its first use causes the answer to be parsed again. */
  const define = (lines: string[]): boolean => {
    const { known } = answer;
    const { size } = known;
    for (const text of lines) {
      const [, label, address = ''] = DEFINITION.exec(text) ?? [];
      const name = label?.toLowerCase();
      if (name && !known.has(name) && known.size < MOST_DEFINITIONS) known.set(name, address);
    }
    return known.size > size;
  };
  const read = (text: string, done: boolean) => {
    let fresh = text.slice(source.length);
    // CR LF is one line ending.
    if (source.endsWith('\r')) fresh = fresh.replace(/^\n/, '');
    const lines = (line + fresh.replace(/\r\n?/g, '\n').replaceAll('\0', '\ufffd')).split('\n');
    if (define(done ? lines : lines.slice(0, -1)) && source) {
      startOver(answer.known);
      read(text, done);
      return;
    }
    line = lines.pop() ?? '';
    for (const finished of lines) addLine(answer, finished);
    source = text;
  };

  return (text: string, done: boolean, cut = false, sources = answer.sources): TreeElement[] => {
    const ending: Ending = done ? (cut ? 'cut' : 'whole') : 'growing';
    if (text === source && ending === shownAs && sources === answer.sources) return shown;
    if (!text.startsWith(source) || sources !== answer.sources) startOver(new Map(), sources);
    read(text, done);
    const ended = copyAnswer(answer);
    if ((line || done) && !waits(line, ending)) addLine(ended, line, ending);
    shown = endAnswer(ended, ending);
    if (done && sources.length) shown.push(sourceList(sources, strings.sources));
    shownAs = ending;
    for (const { attributes } of shown) attributes.dir = 'auto';
    return shown;
  };
}
