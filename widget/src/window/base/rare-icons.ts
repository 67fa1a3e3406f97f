/** The icons of rarely loaded parts. */
import { icon } from './icons.ts';

export const person = icon('M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5a7.5 7.5 0 0 1 15 0');
export const clock = icon('M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z');
export const save = icon('M12 4v11M7 10.5l5 5 5-5M5 20h14');
export const speaker = icon('M4 9.5v5h3.5L12 18V6L7.5 9.5zM16 9a4.5 4.5 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11');
export const bin = icon('M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13');
export const back = icon('M19 12H5M11 5.5L4.5 12l6.5 6.5');
export const alert = icon('M12 8v5M12 16.2v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z');
