import type { Host } from './host.ts';

/** The longest address that the service takes, in characters. */
const LONGEST = 50_000;

/**
 * Calls `use` with the image that the host page or else the tenant has set, if it arrives.
 *
 * The frame's Cross-Origin-Embedder-Policy takes an image of another origin by CORS, or with the header
 * `Cross-Origin-Resource-Policy: cross-origin`: what CORS refuses is tried without.
 */
export function loadImage({ init, page }: Host, name: 'icon' | 'avatar', use: (image: HTMLImageElement) => void): void {
  const given = init.settings as Record<string, unknown>;
  const url = [given[name], page.settings[name]].filter(Boolean).find((address) => {
    const fits = /^(https:\/\/|data:image\/)/.test(`${address}`) && `${address}`.length <= LONGEST;
    if (!fits) console.warn(`A4ChatWidget: data-${name} is too long or wrong, and is left out.`);
    return fits;
  });
  if (!url) return;
  const image = new Image();
  image.style.cssText = 'width:100%;height:100%;border-radius:50%;object-fit:cover'; // in the bubble
  image.onload = () => use(image);
  image.onerror = () => {
    image.onerror = null;
    image.crossOrigin = null;
  };
  image.crossOrigin = '';
  image.src = `${url}`;
}
