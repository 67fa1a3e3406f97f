/** The contents of the `rare` chunk. */
import en from '../../strings/en.ts';
import rest from '../../strings/en-rare.ts';

Object.assign(en, rest);

export { chime } from '../base/chime.ts';
export { alert } from '../base/rare-icons.ts';
export { problemText } from '../conversation/problems.ts';
export { cardStyles } from './chat-cards.styles.ts';
export {
  pausedText,
  renderContinue,
  renderCount,
  renderEditing,
  renderHelp,
  renderNotRestored,
  renderWait,
  unreadText,
} from './chat-cards.ts';

import './chat-history.ts';

export { renderForget, renderHistory, renderMenu, talkToPerson } from './chat-menu.ts';
export { rate, renderComment } from './comment-form.ts';
