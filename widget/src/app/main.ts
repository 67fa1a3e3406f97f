/** The page in the iframe. It shows nothing until the page around it has proved that it may embed it. */
import { AiChatWidget } from './ai-chat-widget.ts';
import { awaitInit, parsePage } from './handshake.ts';

if (window.parent === window) {
  document.body.textContent = 'This page is a part of a chat widget; it works only inside a website that embeds it.';
} else {
  const page = parsePage(document.querySelector<HTMLMetaElement>('meta[name=a4-widget]')?.content ?? '');
  awaitInit(page, (init, port) => {
    const widget = new AiChatWidget();
    document.body.append(widget);
    widget.begin(init, port, page.settings);
  });
}
