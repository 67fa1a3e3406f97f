/** The page in the iframe. It shows nothing until the page around it has proved that it may embed the widget. */
import { AiChatWidget } from './ai-chat-widget.ts';
import { awaitInit, type Page } from './handshake.ts';

if (parent === window) {
  document.body.append('A chat.');
} else {
  const page: Page = JSON.parse((document.querySelector('meta') as HTMLMetaElement).content);
  awaitInit(page, (init, port, origin) => {
    const widget = new AiChatWidget();
    document.body.append(widget);
    widget.begin(init, port, page, origin);
  });
}
