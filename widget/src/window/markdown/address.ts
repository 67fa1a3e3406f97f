import { type Ending, element, plain, type Source, type Tree, type TreeElement } from './tree.ts';

/** Allowed link targets. A `tel:` number has no characters that a phone would treat as a command. */
const ALLOWED = /^(?:https?:|mailto:|(?:tel|sms):(?:[+().\s\d-]|%20)+(?:[;?&]|$))/;
/**
 * A host, then a path. It ends before quotes and before non-ASCII characters that aren't part of a word. Brackets in a path must
 * be balanced and can't start a Markdown link.
 */
const BARE =
  /(?:\[[\da-f:.]*\])?(?:[!$%'-.0-;=@-Z\\^_a-~\p{L}\p{M}\p{N}]|&(?!(?:[lg]t|quot|nbsp);))*(?:[/?#](?:[!$%'-.0-;=@-Z\\^_a-~\p{L}\p{M}\p{N}]|&(?!(?:[lg]t|quot|nbsp);)|[/?#]|\[[^\s<>[\]"]*\](?!\())*)?/uy;
/** Punctuation that ends a sentence rather than an address. */
const TRAILING = /[?!.,:;*_~'")|]/;

/** The length of a bare address in `text` from `at` on, just after its scheme. */
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

/** Resolves `address` as the browser does. A relative address is resolved against the host page. */
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

/** The URL of a source, if it is on the web. */
const place = (source: Source | undefined): URL | undefined =>
  source && /^https?:/i.test(source.url) ? target(source.url, '') : undefined;

/** A source's number, linked to the source if possible, or a footnote's name. */
export function citation(label: string, sources: readonly Source[]): TreeElement {
  const source = sources[Number(label) - 1];
  const url = place(source);
  const name = label.replace('^', '');
  const text = url ? element('a', [name], { ...leadingTo(url), title: `${source?.title} (${url.host})` }) : name;
  return element('sup', [text], { class: 'cite' });
}

/** An answer's numbered list of sources, each with its host. */
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
 * A link, or only its text if the address isn't allowed. The real host is shown unless the text starts with it or it is the host
 * of `site`, the host page. An incomplete address has no target. An image becomes a labelled link.
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
