import { describe, expect, test } from 'vitest';
import { contrast, hex, luminance } from '../src/pages/contrast.ts';
import { configObject, esModule, type Look, scriptTag, settingsFile } from '../src/pages/snippet.ts';

const SERVICE = { url: 'https://chat.test', apiKey: 'a4_pub_k', widgetId: 'wgt_w' };
const look = (settings: Look['settings'], vars: Look['vars'] = {}): Look => ({ settings, vars });

describe('the script tag', () => {
  test.each([
    ['Zoë & 你好', 'data-title="Zoë &amp; 你好"'],
    ['</script><b>', 'data-title="&lt;/script&gt;&lt;b&gt;"'],
    ['the "best"', `data-title='the "best"'`],
    [`it's "best"`, `data-title='it&#39;s "best"'`],
    ['&quot;', 'data-title="&amp;quot;"'],
    ['one\ntwo', 'data-title="one&#10;two"'],
  ])('quotes %j', (title, attribute) => {
    expect(scriptTag(look({ title }), SERVICE)).toContain(`\n        ${attribute}></script>`);
  });

  test('has lists as JSON, switches without a value and names in kebab case', () => {
    const tag = scriptTag(look({ followUps: ['One?', 'Two?'], proactiveExit: true, offsetX: 0 }), SERVICE);
    expect(tag).toContain(`data-follow-ups='["One?","Two?"]'\n        data-proactive-exit\n        data-offset-x="0"`);
  });

  test('has the CSS variables in a style that they cannot escape', () => {
    const tag = scriptTag(look({}, { '--a4w-font': '"</style>", serif' }), SERVICE);
    expect(tag).toContain('    --a4w-font: "\\3c /style>", serif;\n');
    expect(tag.match(/<\/style>/g)).toHaveLength(1);
  });
});

test('a script contains nothing that would end it', () => {
  for (const make of [configObject, esModule]) {
    const text = make(look({ title: '</script><!--' }), SERVICE);
    expect(text).toContain('"title": "\\u003c/script>\\u003c!--"');
  }
});

test('the settings file only has the service’s settings, with colours in its format', () => {
  const file = settingsFile(
    look({ color: 'teal', mode: 'inline', target: '#a', open: true, sound: true }),
    () => '#008080',
  );
  expect(JSON.parse(file)).toEqual({ color: '#008080', sound: true });
});

test('contrast follows WCAG', () => {
  expect(luminance([255, 255, 255])).toBeCloseTo(1);
  expect(contrast([0, 0, 0], [255, 255, 255])).toBeCloseTo(21);
  expect(contrast([119, 119, 119], [255, 255, 255])).toBeCloseTo(4.48, 2);
  expect(hex([15, 118, 110])).toBe('#0f766e');
});
