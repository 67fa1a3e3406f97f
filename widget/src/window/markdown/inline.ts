import { element, plain, type Tree } from './tree.ts';

/** An element that has begun, by what opened it: `[`, `![`, or what is left of a row of `*`, `_` or `~`. */
interface Frame {
  mark: string;
  nodes: Tree[];
}

/** 1, 2: ticks and the code between them. 3, 4: a character reference. 5: an address. 6: the number of a citation. */
const TOKEN =
  /\\?\n|<br ?\/?>|\\[!-/:-@[-`{-~]|(`+)(?!`)([\s\S]{0,4000}?[^`])\1(?!`)|`+|!?\[|]|\*+|_+|~+|&(?:#(x[\da-f]{1,5}|\d{1,6})|(amp|lt|gt|quot|apos|nbsp));|<?((?:https?:\/\/|mailto:|\bwww\.)[^\s<>`\]]+|\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)>?|【(\d+)(?:[:†][^】\n]{0,80})?(?:】|$)/g;
/** What follows the text of a link: 1, 2: the address; 3: nothing if the text ends before it does. */
const TARGET =
  /\(\s*(?:<([^<>\n]*)>?|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*(?:\)|$))*))(?:\s+(?:"[^"]*(?:"|$)|'[^']*(?:'|$)))?\s*(\)|$)/y;
/** An end that tells too little of what it will be. */
const UNDECIDED = /(?:<[^\s<>]{0,8}|&#?\w{0,6}|\\|【\d*|(?:^|\s)!)$/;
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\xa0' };
/** So many elements can stand in each other. */
const DEEPEST = 20;

/** Neighbouring texts are one. */
function add(nodes: Tree[], added: Tree[]): void {
  for (const node of added) {
    const last = nodes.at(-1);
    if (typeof node === 'string' && typeof last === 'string') nodes[nodes.length - 1] = last + node;
    else if (node) nodes.push(node);
  }
}

const unlinked = (nodes: Tree[]): Tree[] =>
  nodes.flatMap((node) => {
    if (typeof node === 'string') return node;
    const inner = unlinked(node.nodes);
    return node.tag === 'a' ? inner : { ...node, nodes: inner };
  });

/**
 * A link to an http, https or mail address as the browser itself reads it, with the real host unless the text begins with it;
 * otherwise the mere text. An address that is still being written leads nowhere. An image is a link with a label.
 */
function link(address: string | undefined, nodes: Tree[], image = ''): Tree[] {
  const alt = image && plain(nodes).slice(0, 200);
  const text = image ? [image + (alt && `: ${alt}`)] : unlinked(nodes);
  const attributes: Record<string, string> = image ? { class: 'image', dir: 'auto' } : {};
  if (address !== undefined) {
    let url: URL;
    try {
      url = new URL(address);
    } catch {
      return text; // It is no address.
    }
    if (!/^(https?|mailto):$/.test(url.protocol) || url.username || url.password) return text;
    const host = url.host || url.pathname;
    const claim = plain(text).replace(/^(https?:\/\/|mailto:)/, '');
    if (!claim.startsWith(host) || /^[^/?#]/.test(claim.slice(host.length))) text.push(' ', element('small', [host]));
    Object.assign(attributes, { href: url.href, target: '_blank', rel: 'noopener noreferrer nofollow' });
  }
  return [element('a', text, attributes)];
}

/**
 * The content of a line, or of lines that belong together. In an `open` text, what is half written at the end is taken for
 * what it will be: its markers don't show.
 */
export function parseInline(source: string, open: boolean, showImage: string): Tree[] {
  const text = open ? source.replace(UNDECIDED, '') : source;
  const stack: Frame[] = [{ mark: '', nodes: [] }];
  let end = 0;

  const frame = (at: number) => stack.at(at) as Frame;
  const push = (nodes: Tree[], to = frame(-1)) => add(to.nodes, nodes);
  /** What didn't become an element is text. */
  const collapse = (height: number) => {
    while (stack.length > height) {
      const { mark, nodes } = stack.pop() as Frame;
      push([mark, ...nodes]);
    }
  };
  const begin = (mark: string) => {
    stack.push({ mark, nodes: [] });
    if (stack.length > DEEPEST) for (const { mark, nodes } of stack.splice(1, 1)) push([mark, ...nodes], frame(0));
  };
  /** Makes an element of the last frame, for so many of its marks at most; returns for how many. */
  const wrap = (most: number): number => {
    const last = frame(-1);
    const { mark, nodes } = last;
    const marks = Math.min(2, most, mark.length);
    last.mark = mark.slice(marks);
    last.nodes = [element(mark[0] === '~' ? 'del' : marks > 1 ? 'strong' : 'em', nodes)];
    if (!last.mark) collapse(stack.length - 1);
    return marks;
  };

  const endLink = () => {
    const at = stack.findLastIndex(({ mark }) => mark.endsWith('['));
    if (at < 0) return push([']']);
    collapse(at + 1);
    const { mark, nodes } = frame(at);
    const label = plain(nodes);
    TARGET.lastIndex = end;
    const target = TARGET.exec(text);
    if (target && (target[3] || open)) {
      end = TARGET.lastIndex;
      stack.pop();
      const address = target[3] ? (target[1] ?? target[2] ?? '').replace(/\\([!-/:-@[-`{-~])/g, '$1') : undefined;
      push(link(address, nodes, mark === '[' ? '' : showImage));
    } else if (/^(\d+|\^.+)$/.test(label)) {
      stack.pop();
      push([element('sup', [label.replace('^', '')])]);
    } else if (!open || end < text.length) {
      collapse(at);
      push([']']);
    }
  };

  const emphasise = (run: string, before: string, after: string, half: boolean) => {
    const isWord = (character: string) => run[0] === '_' && /[\p{L}\p{N}]/u.test(character);
    const opens = /\S/.test(after) && !isWord(before);
    let rest = run.length;
    while (rest && /[^\s([{]/.test(before) && !isWord(after)) {
      // What could open as well, or become longer, ends only what is like it: `*a**b**c*`.
      const at = stack.findLastIndex(({ mark }) => mark[0] === run[0] && (mark.length === rest || !(opens || half)));
      if (at < 0) break;
      collapse(at + 1);
      rest -= wrap(rest);
    }
    if (half || !rest) return;
    if (opens && rest < 4 && run !== '~') begin(run.slice(0, rest));
    else push([run.slice(0, rest)]);
  };

  for (;;) {
    TOKEN.lastIndex = end;
    const match = TOKEN.exec(text);
    push([text.slice(end, match?.index)]);
    if (!match) break;
    const [token, ticks, code = '', number, name = '', address, citation] = match;
    const { index } = match;
    const first = token.charAt(0);
    end = index + token.length;
    const half = open && end === text.length;

    if (token.endsWith('\n') || token.startsWith('<br')) push([element('br')]);
    else if (first === '\\') push([token.charAt(1)]);
    else if (ticks) push([element('code', [code.replace(/\n/g, ' ').replace(/^ (?=.*[^ ])(.*) $/, '$1')])]);
    else if (first === '`' && open) {
      const code = text.slice(end).replace(/^ |`+$/g, '');
      if (code) push([element('code', [code])]);
      end = text.length;
    } else if (first === ']') endLink();
    else if (token.endsWith('[')) begin(token);
    else if (number) push([String.fromCodePoint(Number(`0${number}`) || 0xfffd)]);
    else if (citation) push([element('sup', [citation])]);
    else if (address) {
      let { length } = address;
      if (first !== '<') {
        // A full stop or a bracket behind an address isn't part of it, unless the bracket was opened in it.
        let extra = address.split(')').length - address.split('(').length;
        while (/[?!.,:;*_~'")]/.test(address.charAt(length - 1)) && (address[length - 1] !== ')' || extra-- > 0))
          length--;
        end = index + length;
      }
      const shown = address.slice(0, length);
      const scheme = /^\w+:/.test(shown) ? '' : shown.startsWith('www') ? 'https://' : 'mailto:';
      push(link(half ? undefined : scheme + shown, [shown]));
    } else if (/[*_~]/.test(first)) emphasise(token, text.charAt(index - 1), text.charAt(end), half);
    else push([ENTITIES[name] ?? token]);
  }
  // In an open text, whatever has begun goes on to the end.
  while (open && stack.length > 1) {
    const { mark, nodes } = frame(-1);
    if (/[*_~]/.test(mark) && nodes.length) wrap(2);
    else {
      stack.pop();
      push(mark === '![' ? link(undefined, nodes, showImage) : nodes);
    }
  }
  collapse(1);
  return frame(0).nodes;
}
