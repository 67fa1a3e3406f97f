/** Takes the white space out of `css` and `html` templates and style sheets, which no minifier of JavaScript looks into. */

export const minifyCss = (text) =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\s+/g, ' ')
    .replace(/ ?([{};,]) ?/g, '$1')
    .replace(/: /g, ':')
    .replace(/;\}/g, '}')
    .trim();

// White space that holds a line break only indents; any other may part two words.
const html = (text) =>
  text
    .replace(/>\s*\n\s*</g, '><')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/> (?=\$\{)|(?<=\}) <(?=\/)/g, (found) => found.trim());

export function minifyTemplates() {
  return {
    name: 'minify-templates',
    enforce: 'pre',
    transform(code, id) {
      if (!/[\\/]src[\\/].*\.ts$/.test(id)) return null;
      const changed = code
        .replace(/\bcss`([^`]*)`/g, (_, text) => `css\`${minifyCss(text)}\``)
        .replace(/\bsheet\(\s*`([^`]*)`/g, (_, text) => `sheet(\`${minifyCss(text)}\``)
        .replace(/\bhtml`((?:[^`$]|\$(?!\{))*)`/g, (_, text) => `html\`${html(text)}\``);
      return changed === code ? null : { code: changed, map: null };
    },
  };
}
