import { html } from 'lit/html.js';

export const icon = (path: string) => html`<svg viewBox="0 0 24 24" aria-hidden="true"><path d=${path}></path></svg>`;

export const thumb = icon(
  'M8 11l3.5-7a2.4 2.4 0 0 1 2.4 2.8L13.4 10H19a2 2 0 0 1 2 2.4l-1.2 6A2 2 0 0 1 17.8 20H8zM8 11H4v9h4',
);

export const spark = icon('M12 3.5l2 6.5 6.5 2-6.5 2-2 6.5-2-6.5-6.5-2 6.5-2zM19 3v4M21 5h-4');
export const close = icon('M6 6l12 12M18 6L6 18');
export const more = icon('M5.5 12h0M12 12h0M18.5 12h0');
export const expand = icon('M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7');
export const shrink = icon('M13 5v6h6M13 11l7-7M11 19v-6H5M11 13l-7 7');
export const compose = icon('M11 5H5v14h14v-6M9 15l1-4L18.2 2.8l3 3L13 14z');
export const pen = icon('M4 20l1-4.5L15.7 4.8a1.9 1.9 0 0 1 2.7 0l.8.8a1.9 1.9 0 0 1 0 2.7L8.5 19z');
export const arrow = icon('M12 19V5M5.5 11.5L12 5l6.5 6.5');
export const stop = icon('M7.5 7.5h9v9h-9z');
export const copy = icon('M9 9h11v11H9zM5 15H4V4h11v1');
export const check = icon('M5 12.5l4.5 4.5L19 7.5');
export const retry = icon('M20 11.5a8 8 0 1 1-2.4-5.2L20 8.5M20 4v4.5h-4.5');
