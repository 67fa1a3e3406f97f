import { type Ending, element, plain, type Source, type Tree, type TreeElement } from './tree.ts';

/** What a link may lead to. A number to call has nothing in it that a phone would take for a command. */
const ALLOWED = /^(?:https?:|mailto:|(?:tel|sms):(?:[+().\s\d-]|%20)+(?:[;?&]|$))/;
/**
 * A host, then a path. It ends before quotes, and before whatever is neither ASCII nor part of a word. In a path brackets are in
 * pairs, and none begins a link of Markdown.
 */
const BARE =
  /(?:\[[\da-f:.]*\])?(?:[!$%'-.0-;=@-Z\\^_a-~\p{L}\p{M}\p{N}]|&(?!(?:[lg]t|quot|nbsp);))*(?:[/?#](?:[!$%'-.0-;=@-Z\\^_a-~\p{L}\p{M}\p{N}]|&(?!(?:[lg]t|quot|nbsp);)|[/?#]|\[[^\s<>[\]"]*\](?!\())*)?/uy;
/** Punctuation that ends a sentence rather than an address. */
const TRAILING = /[?!.,:;*_~'")|]/;

/** How many characters of `text` from `at` on belong to a bare address, whose scheme stands before. */
export function bareLength(text: string, at: number): number {
  BARE.lastIndex = at;
  const [address = ''] = BARE.exec(text) ?? [];
  let { length } = address;
  // A closing bracket belongs to the address if it was opened there.
  let extra = address.split(')').length - address.split('(').length;
  while (TRAILING.test(address.charAt(length - 1)) && (address.charAt(length - 1) !== ')' || extra-- > 0)) length--;
  return length;
}

const unlinked = (nodes: Tree[]): Tree[] =>
  nodes.flatMap((node) => {
    if (typeof node === 'string') return node;
    const inner = unlinked(node.nodes);
    return node.tag === 'a' ? inner : { ...node, nodes: inner };
  });

/** Where `address` leads, as the browser reads it; a relative one leads to the host page's site. */
function target(address: string, site: string): URL | undefined {
  try {
    const absolute = /^www\./i.test(address) ? `https://${address}` : address;
    // Without its slashes, `https:a` would be relative to a page with https.
    const url = /^[a-z][\w+.-]*:/i.test(absolute) ? new URL(absolute) : new URL(absolute, site);
    return address && ALLOWED.test(url.href) && !url.username && !url.password ? url : undefined;
  } catch {
    return undefined;
  }
}

const leadingTo = ({ href }: URL) => ({ href, target: '_blank', rel: 'noopener noreferrer nofollow' });

/** Where a source is, if that is on the web. */
const place = (source: Source | undefined): URL | undefined =>
  source && /^https?:/i.test(source.url) ? target(source.url, '') : undefined;

/** The number of a source, which then is a link to it, or the name of a note. */
export function citation(label: string, sources: readonly Source[]): TreeElement {
  const source = sources[Number(label) - 1];
  const url = place(source);
  const name = label.replace('^', '');
  const text = url ? element('a', [name], { ...leadingTo(url), title: `${source?.title} (${url.host})` }) : name;
  return element('sup', [text], { class: 'cite' });
}

/** The sources of an answer by their numbers, each with its host. */
export const sourceList = (sources: readonly Source[], heading = ''): TreeElement =>
  element(
    'div',
    [
      heading,
      element(
        'ol',
        sources.map((source) => {
          const title = source.title || source.url;
          return element('li', place(source) ? link(source.url, [title], '', 'whole') : [title]);
        }),
      ),
    ],
    { class: 'sources', role: 'group', 'aria-label': heading },
  );

/**
 * A link, or its mere text where the address may not be followed. It names the real host unless the text begins with it or the
 * host is that of `site`, the host page. An address that is still being written leads nowhere. An image is a link with a label.
 */
export function link(address: string | undefined, nodes: Tree[], site: string, ending: Ending, image = ''): Tree[] {
  const alt = image && plain(nodes);
  const text = image ? [image + (alt && `: ${alt}`)] : unlinked(nodes);
  const attributes: Record<string, string> = image ? { class: 'image', dir: 'auto' } : {};
  if (address !== undefined) {
    const url = target(address, site);
    if (!url) return text;
    const host = url.host || url.pathname;
    const claim = plain(text).replace(/^(?:https?:\/\/|mailto:|tel:|sms:)/i, '');
    const isNamed = claim.startsWith(host) && !/^[^/?#]/.test(claim.slice(host.length));
    if (!isNamed && !site.startsWith(`${url.origin}/`)) text.push(' ', element('small', [host]));
    Object.assign(attributes, leadingTo(url));
  } else if (ending === 'cut') return text;
  return [element('a', text, attributes)];
}
