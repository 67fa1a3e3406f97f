/** The script of a host page. It adds one global and one element, and touches nothing else. */
import { readConfig } from './config.ts';
import { start } from './start.ts';

const tag = (document.currentScript ?? [...document.scripts].find((script) => /\/widget\.js(\?|$)/.test(script.src))) as
  | HTMLScriptElement
  | undefined;
const config = readConfig(tag, window.A4ChatWidgetConfig);
if (typeof config === 'string') console.error(`A4ChatWidget: ${config} is missing or wrong.`);
else start(config, tag);
