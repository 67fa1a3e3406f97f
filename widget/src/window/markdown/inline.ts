import { bareLength, citation, link } from './address.ts';
import { DEEPEST_INLINE } from './bounds.ts';
import { decode } from './entities.ts';
import { type Ending, element, type MarkdownLabels, plain, type Source, type Tree } from './tree.ts';

/** Context shared by all texts of one answer. */
export interface Context {
  strings: MarkdownLabels;
  /** The host page's address, or ''. */
  site: string;
  sources: readonly Source[];
  /** Addresses by label, from link definitions. */
  known: Map<string, string>;
}

/** An open element, started by `[`, `![`, a tag, or the rest of a run of `*`, `_` or `~`. */
interface Frame {
  mark: string;
  nodes: Tree[];
  /** The offset of the opening mark. */
  at: number;
  /** The tag's name, if it is a tag. */
  tag?: string;
}

/** Anything that may be markup. 1: backticks; 2, 3: a tag's slash and name; 4: an address in brackets; 5: a citation's number. */
const TOKEN =
  /\\?\n|\\[!-/:-@[-`{-~]|(`+)|!?\[|]|\*+|_+|~+|\${1,2}|&#?\w{1,9};|<!--|<(\/?)([a-z]{1,9}\d?)(?:\s+[\w:-]+=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))*\s*\/?>|<((?:https?|mailto|tel|sms):[^\s<>]+|[\w.+-]+@[\w.-]+)>|(?<![a-z\d])(?:https?:\/\/|mailto:|tel:|sms:|www\.)|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+|【(\d+)(?:[:†][^】\n]{0,80})?(?:】|$)/gi;
/** The part after a link's text. 1, 2: the address; 3: the title; 4: the closing bracket, empty if the text ends first. */
const TARGET =
  /\(\s*(?:<([^<>\n]*)(?:>|$)|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*(?:\)|$))*))(\s+(?:"[^"\n]*"|'[^'\n]*'|["'][^"'\n]{0,200}$))?\s*(\)|$)/y;
/** A possibly incomplete address in brackets, as opposed to a word. */
const ADDRESS = /^(?:h?t?t?p?s?|(?:https?:|mailto:|tel:|sms:|www\.|\.{0,2}\/|#)\S*)$/i;
/** A definition's label. */
const REFERENCE = /\[([^[\]]{0,99})]/y;
/** An ending that is still ambiguous. */
const UNDECIDED = /(?:<[^\s<>]*|&#?\w{0,8}|\\|【\d*|(?:^|\s)!)$/i;
/** Each formula's closing mark. Inside a formula everything is text. */
const FORMULAS: Record<string, string> = {
  '\\(': '\\)',
  '\\[': '\\]',
  $$: '$$',
  $: '$',
};
/** The supported tags; some map to another element. */
const TAG = /^(?:strong|em|code|del|su[bp]|kbd|summary|[bisu])$/;
const ELEMENTS: Record<string, string> = { b: 'strong', summary: 'strong', i: 'em', s: 'del' };

/** Appends a node; adjacent texts are merged. */
function add(nodes: Tree[], added: Tree[]): void {
  for (const node of added) {
    const last = nodes.at(-1);
    if (typeof node === 'string' && typeof last === 'string') nodes[nodes.length - 1] = last + node;
    else if (node) nodes.push(node);
  }
}

/** Plain text with line breaks. */
const verbatim = (text: string): Tree[] =>
  text.split('\n').flatMap((line, index) => (index ? [element('br'), line] : [line]));

/** Parses the inline content of a line or of several joined lines. */
export function parseInline(source: string, ending: Ending, context: Context): Tree[] {
  const { strings, site, known, sources } = context;
  const open = ending !== 'whole';
  const text = ending === 'growing' ? source.replace(UNDECIDED, '') : source;
  const stack: Frame[] = [{ mark: '', nodes: [], at: 0 }];
  /** The read position. */
  let end = 0;
  /** The next offset of each closing mark, or -1. */
  const ends = new Map<string, number>();

  const frame = (at: number) => stack.at(at) as Frame;
  const push = (nodes: Tree[], to = frame(-1)) => add(to.nodes, nodes);
  const linkTo = (address: string | undefined, nodes: Tree[], image = '') =>
    push(link(address, nodes, site, ending, image));
  /** Matches a pattern at the read position. */
  const ahead = (pattern: RegExp) => {
    pattern.lastIndex = end;
    return pattern.exec(text);
  };
  /** The next offset of `mark`, or -1. The last result is reused while it is still ahead, so no text is searched twice. */
  const next = (mark: string): number => {
    let found = ends.get(mark) ?? 0;
    if (found >= 0 && found < end) {
      // A run of backticks is closed by one of the same length.
      const ticks = mark.startsWith('`') && new RegExp(`(?<!\`)${mark}(?!\`)`, 'g');
      found = ticks ? (ahead(ticks)?.index ?? -1) : text.indexOf(mark, end);
      ends.set(mark, found);
    }
    return found;
  };
  /** Turns an unclosed frame back into text. */
  const collapse = (height: number) => {
    while (stack.length > height) {
      const { mark, nodes } = stack.pop() as Frame;
      push([mark, ...nodes]);
    }
  };
  const begin = (mark: string, at: number, tag = '') => {
    stack.push({ mark, nodes: [], at, tag });
    if (stack.length > DEEPEST_INLINE)
      for (const { mark, nodes } of stack.splice(1, 1)) push([mark, ...nodes], frame(0));
  };

  const code = (row: string) => {
    const close = next(row);
    let content = text.slice(end, close < 0 ? undefined : close);
    if (close >= 0) {
      content = content.replace(/\n/g, ' ').replace(/^ (?=.*[^ ])(.*) $/, '$1');
      end = close + row.length;
    } else if (open) {
      content = content.replace(/^ |(?<!`)`+$/g, '');
      end = text.length;
    } else return push([row]);
    if (content) push([element('code', [content])]);
  };

  /** A formula is shown verbatim. Without a closing mark, an opening one is text. */
  const formula = (mark: string): boolean => {
    const close = FORMULAS[mark];
    if (!close) return false;
    const found = next(close);
    const content = text.slice(end, found);
    const after = found + close.length;
    if (found < 0 ? !open || mark === '$' : mark === '\\[' && !/[\\^_={}]|^\s/.test(content)) return false;
    // Prices aren't formulas, and neither is text with no markup to preserve.
    if (mark === '$' && (!/[\\^_]/.test(content) || content.trim() !== content || /\d/.test(text.charAt(after))))
      return false;
    push(verbatim(mark + (found < 0 ? text.slice(end) : content + close)));
    end = found < 0 ? text.length : after;
    return true;
  };

  /** HTML comments are dropped. */
  const comment = () => {
    const found = next('-->');
    if (found < 0 && ending !== 'growing') push(['<!--']);
    else end = found < 0 ? text.length : found + 3;
  };

  const endTag = (at: number) => {
    collapse(at + 1);
    const { nodes, tag = '' } = stack.pop() as Frame;
    push([element(ELEMENTS[tag] ?? tag, nodes)]);
  };
  const tag = (token: string, slash: string, name: string, at: number) => {
    const height = slash ? stack.findLastIndex((frame) => frame.tag === name) : 0;
    if (name === 'br') push([element('br')]);
    else if (!TAG.test(name) || height < 0) push([token]);
    else if (slash) endTag(height);
    else begin(token, at, name);
  };

  /** An autolink; a bare address unless `whole` is set. */
  const address = (token: string, at: number, whole: string) => {
    const isMail = /^[^:]+@/.test(whole || token);
    if (!whole && !isMail) {
      const length = bareLength(text, end);
      if (!length) return push([token]);
      end += length;
    }
    const shown = decode(whole || text.slice(at, end));
    linkTo(open && end === text.length ? undefined : (isMail ? 'mailto:' : '') + shown, [shown]);
  };

  /** At `]`: a link, an image, a citation, or text. */
  const endLink = () => {
    const at = stack.findLastIndex(({ mark }) => mark.endsWith('['));
    if (at < 0) return push([']']);
    collapse(at + 1);
    const { mark, nodes } = frame(at);
    const image = mark === '[' ? '' : strings.showImage;
    const target = ahead(TARGET);
    const address = decode((target?.[1] ?? target?.[2] ?? '').replace(/\\([!-/:-@[-`{-~])/g, '$1'));
    // Incomplete markup in a text that has ended is hidden only if it can't contain words.
    const isHalf = ending === 'growing' || (open && !target?.[3] && ADDRESS.test(address));
    if (target && (target[4] || isHalf) && (address || image || nodes.length)) {
      end = TARGET.lastIndex;
      stack.pop();
      return linkTo(target[4] ? address : undefined, nodes, image);
    }
    const label = plain(nodes);
    // An index (`items[0]`) is not a citation.
    if (/^(?:[1-9]\d*|\^.+)$/.test(label)) {
      stack.pop();
      return push([citation(label, sources)]);
    }
    const reference = ahead(REFERENCE);
    const found = known.get((reference?.[1] || label).toLowerCase());
    if (found !== undefined) {
      if (reference) end = REFERENCE.lastIndex;
      stack.pop();
      linkTo(found, nodes, image);
    } else if (!open || end < text.length) {
      collapse(at);
      push([']']);
    }
  };

  /** Turns the last frame into an element, using at most the given number of its marks; returns how many it used. */
  const wrap = (most: number): number => {
    const last = frame(-1);
    const { mark, nodes } = last;
    const marks = Math.min(2, most, mark.length);
    last.mark = mark.slice(marks);
    last.nodes = [element(mark[0] === '~' ? 'del' : marks > 1 ? 'strong' : 'em', nodes)];
    if (!last.mark) collapse(stack.length - 1);
    return marks;
  };
  const emphasise = (run: string, at: number) => {
    const before = text.charAt(at - 1);
    const after = text.charAt(end);
    const half = open && !after;
    const isWord = (character: string) => run[0] === '_' && /[\p{L}\p{N}]/u.test(character);
    const opens = /\S/.test(after) && !isWord(before);
    let rest = run.length;
    while (rest && /[^\s([{]/.test(before) && !isWord(after)) {
      // A run that could also open, or is still growing, only closes a run of the same length: `*a**b**c*`.
      const height = stack.findLastIndex(
        ({ mark }) => mark[0] === run[0] && (mark.length === rest || !(opens || half)),
      );
      if (height < 0) break;
      collapse(height + 1);
      rest -= wrap(rest);
    }
    if (half || !rest) return;
    if (opens && rest < 4 && run !== '~') begin(run.slice(0, rest), at);
    else push([run.slice(0, rest)]);
  };

  for (;;) {
    TOKEN.lastIndex = end;
    const match = TOKEN.exec(text);
    push([text.slice(end, match?.index)]);
    if (!match) break;
    const [token, row, slash = '', name, whole = '', source] = match;
    const { index } = match;
    end = index + token.length;

    if (token.endsWith('\n')) push([element('br')]);
    else if (formula(token)) continue;
    else if (token.startsWith('\\')) push([token.charAt(1)]);
    else if (row) code(row);
    else if (token === ']') endLink();
    else if (/^!?\[/.test(token)) begin(token, index);
    else if (/^[*_~]/.test(token)) emphasise(token, index);
    else if (/^[&$]/.test(token)) push([decode(token)]);
    else if (token === '<!--') comment();
    else if (name) tag(token, slash, name.toLowerCase(), index);
    else if (source && (ending === 'growing' || token.endsWith('】'))) push([citation(source, sources)]);
    else if (source) {
      push(['【']);
      end = index + 1;
    } else address(token, index, whole);
  }
  // In an unfinished text, open elements extend to the end.
  while (open && stack.length > 1) {
    const { mark, nodes, tag, at } = frame(-1);
    if (tag) endTag(stack.length - 1);
    else if (/[*_~]/.test(mark) && nodes.length) wrap(2);
    else {
      stack.pop();
      if (mark === '![') linkTo(undefined, nodes, strings.showImage);
      else push(mark === '[' && /\w/.test(text.charAt(at - 1)) ? [mark, ...nodes] : nodes);
    }
  }
  collapse(1);
  return frame(0).nodes;
}
