import type { Host } from './host.ts';

/** The longest URL that the service accepts, in characters. */
const LONGEST = 50_000;

/**
 * Calls `use` with the image of the host page or else of the tenant, if it loads.
 *
 * The frame's Cross-Origin-Embedder-Policy allows an image from another origin with CORS, or with the header
 * `Cross-Origin-Resource-Policy: cross-origin`. An image that CORS refuses is therefore tried again without CORS.
 */
export function loadImage({ init, page }: Host, name: 'icon' | 'avatar', use: (image: HTMLImageElement) => void): void {
  const hostSettings = init.settings as Record<string, unknown>;
  const url = [hostSettings[name], page.settings[name]].filter(Boolean).find((address) => {
    const fits = /^(https:\/\/|data:image\/)/.test(`${address}`) && `${address}`.length <= LONGEST;
    if (!fits) console.warn(`A4ChatWidget: ${name} is too long or wrong.`);
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
