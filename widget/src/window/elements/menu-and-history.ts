/** The chunk of what is wanted rarely. */
import en from '../../strings/en.ts';
import rest from '../../strings/en-rare.ts';

Object.assign(en, rest);

export { chime } from '../base/chime.ts';
export { alert } from '../base/rare-icons.ts';
export { problemText } from '../conversation/problems.ts';
export { cardStyles } from './chat-cards.styles.ts';
export { openForm, renderDelete, renderEditing, renderHelp, renderNotRestored } from './chat-cards.ts';

import './chat-history.ts';

export { chatMenu } from './chat-menu.ts';
export { renderComment } from './comment-form.ts';
