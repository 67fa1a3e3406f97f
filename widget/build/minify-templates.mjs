/** Removes white space from `css` and `html` templates and style sheets, which JavaScript minifiers leave alone. */

export const minifyCss = (text) =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/ ?([{};,>]) ?/g, '$1')
    .replace(/(?<=\() | (?=\)|!important)/g, '')
    .replace(/='([a-z]\w*)'\]/g, '=$1]')
    .replace(/: /g, ':')
    .replace(/;\}/g, '}')
    .trim();

/**
 * Minifies the `html` templates of a source, including nested ones. An indent between an expression and a tag is removed;
 * elsewhere, as between two attributes, it becomes a space.
 */
function minifyHtml(code) {
  let out = '';
  /** For each open template, the number of open braces in its current expression, or -1 outside an expression. */
  const open = [];
  for (let at = 0; at < code.length; at += 1) {
    const braces = open.at(-1);
    const inText = braces === -1;
    const rest = code.slice(at, at + 5);
    if (!inText && rest === 'html`') {
      out += rest;
      at += 4;
      open.push(-1);
    } else if (braces === undefined) {
      out += code[at];
    } else if (inText && code[at] === '`') {
      out += '`';
      open.pop();
    } else if (inText && rest.startsWith('${')) {
      out += '${';
      at += 1;
      open[open.length - 1] = 0;
    } else if (inText && /\s/.test(code[at])) {
      const space = /^\s+/.exec(code.slice(at))[0];
      const next = code[at + space.length];
      const between = (/>$/.test(out) && /[<$`]/.test(next)) || (/[}`]$/.test(out) && /[<`]/.test(next));
      out += space.includes('\n') && between ? '' : ' ';
      at += space.length - 1;
    } else {
      if (!inText && code[at] === '{') open[open.length - 1] += 1;
      if (!inText && code[at] === '}') open[open.length - 1] -= 1;
      out += code[at];
    }
  }
  return out;
}

export function minifyTemplates() {
  return {
    name: 'minify-templates',
    enforce: 'pre',
    transform(code, id) {
      if (!/[\\/]src[\\/].*\.ts$/.test(id)) return null;
      const changed = minifyHtml(code)
        .replace(/\bcss`([^`]*)`/g, (_, text) => `css\`${minifyCss(text)}\``)
        .replace(/\bsheet\(\s*`([^`]*)`/g, (_, text) => `sheet(\`${minifyCss(text)}\``);
      return changed === code ? null : { code: changed, map: null };
    },
  };
}
