import { html } from 'lit';

const icon = (path: string) => html`<svg viewBox="0 0 24 24" aria-hidden="true"><path d=${path}></path></svg>`;

export const spark = icon('M12 3.5l2 6.5 6.5 2-6.5 2-2 6.5-2-6.5-6.5-2 6.5-2zM19 3v4M21 5h-4');
export const close = icon('M6 6l12 12M18 6L6 18');
export const compose = icon(
  'M11 5H6.5A2.5 2.5 0 0 0 4 7.5v10A2.5 2.5 0 0 0 6.5 20h10a2.5 2.5 0 0 0 2.5-2.5V13M17.8 3.8a1.7 1.7 0 0 1 2.4 2.4L13 13.5l-3.5 1 1-3.5z',
);
export const send = icon('M12 19V5M5.5 11.5L12 5l6.5 6.5');
export const stop = icon('M7.5 7.5h9v9h-9z');
export const copy = icon('M9 9h11v11H9zM5 15H4V4h11v1');
export const check = icon('M5 12.5l4.5 4.5L19 7.5');
export const retry = icon('M20 11.5a8 8 0 1 1-2.4-5.2L20 8.5M20 4v4.5h-4.5');
export const down = icon('M12 5v14M5.5 12.5L12 19l6.5-6.5');
export const alert = icon('M12 8v5M12 16.2v.1M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z');
