/** The named entities that models use, each followed by its character. */
const NAMES =
  'amp&lt<gt>quot"apos\'nbsp\xa0hellip…mdash—ndash–lsquo‘rsquo’ldquo“rdquo”bull•middot·copy©reg®trade™deg°times×rarr→le≤ge≥euro€';

/** Decodes character references. Unknown ones are left unchanged. */
export const decode = (text: string): string =>
  text.replace(/&(?:#(x[\da-f]{1,6}|\d{1,7})|(\w{2,8}));/gi, (reference, number, name) => {
    const code = Number(number?.replace(/^x/i, '0x'));
    if (number) return String.fromCodePoint(code > 0 && code < 0x110000 && code >> 11 !== 27 ? code : 0xfffd);
    return new RegExp(`(?:^|\\W)${name}(\\W)`).exec(NAMES)?.[1] ?? reference;
  });
