import { sourceList } from './address.ts';
import { addLine, copyAnswer, createAnswer, DEFINITION, endAnswer } from './blocks.ts';
import { MOST_DEFINITIONS } from './bounds.ts';
import type { Ending, MarkdownLabels, TreeElement } from './tree.ts';

/** A line of nothing but markers, or one that begins a fence: only what follows will tell what it is. */
const MARKERS = /^[\s>*+_=~`|:#\d.()[\]^xX-]*$/;
const FENCE = /^[\s>*+\d.)-]*(?:`{3,}[^`]*$|~{3})/;
/** Whether the beginning of a line is not shown yet; where a text was cut off, whether it never is. */
const waits = (line: string, ending: Ending): boolean =>
  ending !== 'whole' &&
  ((FENCE.test(line) && (ending === 'growing' || /^[\s>*+\d.)`~-]*[\w+#.-]*\s*$/.test(line))) ||
    (MARKERS.test(line) && (ending === 'growing' || !/[\dx]/i.test(line))));

/**
 * Parses a text that grows: the whole text so far in, what it shows out. Lines are read once, and finished blocks stay the very
 * same objects; a text that does not continue the former one starts over. With `done` the end is final, and with `cut` too,
 * but what is half written there is shown as if it went on; what it cites (`sources`) stands below. `site` is the address of the
 * host page.
 */
export function createParser(strings: MarkdownLabels, site = '') {
  let source = '';
  let shown: TreeElement[] = [];
  let shownAs: Ending | undefined;
  /** The lines that are complete, and what follows them. */
  let answer = createAnswer({ strings, site, sources: [], known: new Map() });
  let line = '';

  const startOver = (known: Map<string, string>, sources = answer.sources) => {
    answer = createAnswer({ strings, site, sources, known });
    source = '';
    line = '';
  };
  /** The first definition of a label counts; one that comes after its use has the answer read again. */
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
    // A line feed that follows a carriage return ends no other line.
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
