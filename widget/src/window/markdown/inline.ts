import { parseLink, realHost } from './links.ts';

/** Text, or an element that may stand in a line of it: `strong em del code a sup small br`. */
export type Inline = string | InlineElement;

export interface InlineElement {
  tag: string;
  nodes: Inline[];
  /** a: where it leads, as `parseLink` read it. None while it is still being written. */
  href?: string;
  /** Its class. */
  kind?: string;
}

/** `*`, `_` or `~` in a row, which may open or close an emphasis. */
interface Run {
  run: string;
  opens: boolean;
  closes: boolean;
  /** At the end of a text that goes on: perhaps one half of what closes, or the begin of something new. */
  half: boolean;
}

const TOKEN = new RegExp(
  [
    /\\[!-/:-@[-`{-~\n]?/, // an escape
    /`+/,
    /!?\[|\]/,
    /[*_]+|~~+/,
    /\n[ \t]*/,
    /<br ?\/?>/,
    /<(?:https?:|mailto:)[^\s<>]*(?:>|$)|<[\w.+-]+@[\w.-]+>/, // an address in angle brackets
    /https?:\/\/[^\s<\]`]+|www\.[^\s<\]`]+/,
    /@[\w-]+(?:\.[\w-]+)+/, // the domain of a mail address
    /&#?\w{1,9};/,
    /【\d[\d:]*(?:†[^】\n]{0,80})?(?:】|$)/, // a citation
  ]
    .map((token) => token.source)
    .join('|'),
  'g',
);
/** What is behind `]` in a link: address and title, whole or cut off by the end of the text. */
const DESTINATION =
  /\(\s*(?:<([^<>\n]*)>?|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*(?:\)|$))*))(?:\s+(?:"[^"]*(?:"|$)|'[^']*(?:'|$)))?\s*(\)|$)/y;
/** At the end of a growing text: too little to know what it will be. */
const UNDECIDED = /(?:<[^\s<>]{0,8}|&#?\w{0,9}|\\|【[\d:]*|\s!|^!)$/;
const ESCAPE = /\\([!-/:-@[-`{-~])/g;
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };
/** So many openers wait for what closes them, which also bounds how deep elements are nested. */
const OPENERS = 20;

export const plain = (nodes: Inline[]): string =>
  nodes.map((node) => (typeof node === 'string' ? node : plain(node.nodes))).join('');

/** Nodes without links in them, which no link may hold. */
const unlinked = (nodes: Inline[]): Inline[] =>
  nodes.flatMap((node) => {
    if (typeof node === 'string') return node;
    const inner = unlinked(node.nodes);
    return node.tag === 'a' ? inner : { ...node, nodes: inner };
  });

/** A link that says where it leads; its mere text where it may not lead there. */
function link(address: string | undefined, nodes: Inline[], kind = ''): Inline[] {
  const text = unlinked(nodes);
  if (address === undefined) return [{ tag: 'a', nodes: text, kind }];
  const url = parseLink(address);
  if (!url) return text;
  const host = realHost(url, plain(text));
  return [{ tag: 'a', nodes: host ? [...text, ' ', { tag: 'small', nodes: [host] }] : text, href: url.href, kind }];
}

function decode(entity: string): string {
  const name = entity.slice(1, -1);
  if (name[0] !== '#') return ENTITIES[name] ?? entity;
  const code = Number(`0${name.slice(1)}`.replace(/^0(?=[1-9]|0)/, ''));
  return code > 0 && code < 0x11_0000 ? String.fromCodePoint(code) : '\ufffd';
}

/** Turns runs into elements. With `open`, what nothing has closed yet goes on to the end. */
function emphasise(items: (Inline | Run)[], open: boolean): Inline[] {
  const out: Inline[] = [];
  const openers: (Run & { at: number; left: number })[] = [];

  /** Wraps what is behind an opener, and takes as much off the opener. */
  const wrap = (opener: { run: string; at: number; left: number }, length: number) => {
    const nodes = joined(out.splice(opener.at + 1));
    opener.left -= length;
    out[opener.at] = opener.run.slice(0, opener.left);
    const tag = opener.run[0] === '~' ? 'del' : length > 1 ? 'strong' : 'em';
    if (nodes.length) out.push({ tag, nodes });
  };

  for (const item of items) {
    if (typeof item === 'string' || 'tag' in item) {
      out.push(item);
      continue;
    }
    const { run, opens, closes, half } = item;
    let left = run.length;
    while (closes && left) {
      let index = openers.length;
      while (index--) {
        const { run: other, closes: both } = openers[index] as Run;
        // The rule of three keeps `*a**b**c*` in order.
        const clash = (both || opens) && run.length % 3 && !((run.length + other.length) % 3);
        if (other[0] === run[0] && !clash) break;
      }
      const opener = openers[index];
      if (!opener || (half && opener.left !== left)) break;
      const length = Math.min(2, left, opener.left);
      openers.length = index + 1;
      wrap(opener, length);
      if (!opener.left) openers.pop();
      left -= length;
    }
    if (!left || half) continue;
    if (opens) openers.push({ ...item, at: out.length, left });
    if (openers.length > OPENERS) openers.shift();
    out.push(run.slice(0, left));
  }
  if (open) {
    for (const opener of openers.reverse()) while (opener.left) wrap(opener, Math.min(2, opener.left));
  }
  return joined(out);
}

/** Neighbouring texts as one. */
function joined(nodes: Inline[]): Inline[] {
  const out: Inline[] = [];
  for (const node of nodes) {
    const last = out.at(-1);
    if (typeof node === 'string' && typeof last === 'string') out[out.length - 1] = last + node;
    else if (node) out.push(node);
  }
  return out;
}

/**
 * The content of a line, or of lines that belong together. In an `open` text, what is half written at the end is taken for
 * what it will be: its markers don't show.
 */
export function parseInline(source: string, open: boolean, showImage: string): Inline[] {
  const text = open ? source.replace(UNDECIDED, '') : source;
  const items: (Inline | Run)[] = [];
  const brackets: { at: number; end: number; image: boolean; active: boolean }[] = [];
  let end = 0;

  const trimEnd = (pattern: RegExp): string => {
    const last = items.at(-1);
    const found = typeof last === 'string' ? (pattern.exec(last)?.[0] ?? '') : '';
    if (found) items[items.length - 1] = (last as string).slice(0, -found.length);
    return found;
  };

  const closeBracket = (index: number) => {
    const bracket = brackets.pop();
    DESTINATION.lastIndex = end;
    const match = bracket?.active && DESTINATION.exec(text);
    if (bracket && match && (match[3] || open)) {
      end = DESTINATION.lastIndex;
      const address = match[3] ? (match[1] ?? match[2] ?? '').replace(ESCAPE, '$1') : undefined;
      const nodes = emphasise(items.splice(bracket.at).slice(1), false);
      if (bracket.image) {
        const alt = plain(nodes).slice(0, 200);
        items.push(...link(address, [alt ? `${showImage}: ${alt}` : showImage], 'image'));
      } else {
        items.push(...link(address, nodes));
        for (const outer of brackets) outer.active &&= outer.image;
      }
    } else if (bracket && !bracket.image && /^(\d+|\^.+)$/.test(text.slice(bracket.end, index))) {
      items.splice(bracket.at);
      items.push({ tag: 'sup', nodes: [text.slice(bracket.end, index).replace('^', '')] });
    } else if (bracket && open && end === text.length) items[bracket.at] = '';
    else items.push(']');
  };

  for (;;) {
    TOKEN.lastIndex = end;
    const match = TOKEN.exec(text);
    const index = match ? match.index : text.length;
    if (index > end) items.push(text.slice(end, index));
    if (!match) break;
    const token = match[0];
    const first = token.charAt(0);
    const before = text[index - 1] ?? ' ';
    end = index + token.length;
    const half = open && end === text.length;

    if (first === '\n' || token === '\\\n' || token.startsWith('<br')) {
      trimEnd(/[ \t]+$/);
      items.push({ tag: 'br', nodes: [] });
    } else if (first === '\\') items.push(token[1] ?? token);
    else if (first === '`') {
      const ticks = /`+/g;
      ticks.lastIndex = end;
      let closing = ticks.exec(text);
      while (closing && closing[0].length !== token.length) closing = ticks.exec(text);
      if (closing || open) {
        const code = text.slice(end, closing?.index).replace(/\n/g, ' ');
        const shown = closing ? code.replace(/^ (.*[^ ].*) $/, '$1') : code.replace(/^ |`+$/g, '');
        if (shown) items.push({ tag: 'code', nodes: [shown] });
        end = closing ? ticks.lastIndex : text.length;
      } else items.push(token);
    } else if (token.endsWith('[')) {
      brackets.push({ at: items.length, end, image: first === '!', active: true });
      items.push(token);
    } else if (first === ']') closeBracket(index);
    else if (/[*_~]/.test(first)) {
      // Each character its own run: `*_a_*`.
      const run = token.replace(/^((.)\2*).*/, '$1');
      end = index + run.length;
      const after = text[end] ?? ' ';
      const word = first === '_' ? /[\p{L}\p{N}_]/u : /^$/;
      const atEnd = open && end === text.length;
      const opens = !/\s/.test(after) && !word.test(before);
      const closes = !/\s/.test(before) && !word.test(after);
      items.push(run.length > 6 ? run : { run, opens, closes, half: atEnd && (opens || closes || !word.test(before)) });
    } else if (first === '&') items.push(decode(token));
    else if (first === '【') {
      items.push(token.endsWith('】') || open ? { tag: 'sup', nodes: [token.replace(/\D*(\d+).*/, '$1')] } : token);
    } else if (first === '@') {
      const name = trimEnd(/[\w.+-]{1,64}$/);
      items.push(...(name ? link(half ? undefined : `mailto:${name}${token}`, [name + token]) : [token]));
    } else if (first === '<') {
      const address = token.slice(1, token.endsWith('>') ? -1 : undefined);
      if (token.endsWith('>')) items.push(...link(/^\w+:/.test(address) ? address : `mailto:${address}`, [address]));
      else if (open) items.push(...link(undefined, [address]));
      else {
        items.push(first);
        end = index + 1;
      }
    } else {
      // A full stop or a bracket behind an address isn't part of it, unless the bracket was opened in it.
      let extra = token.split(')').length - token.split('(').length;
      let length = token.length;
      for (; length; length--) {
        const character = token.charAt(length - 1);
        if (character === ')' ? extra-- < 1 : !/[?!.,:;*_~'"]/.test(character)) break;
      }
      const address = token.slice(0, length);
      end = index + length;
      items.push(...link(half ? undefined : first === 'w' ? `https://${address}` : address, [address]));
    }
  }
  if (open) for (const { at } of brackets) items[at] = '';
  return emphasise(items, open);
}
