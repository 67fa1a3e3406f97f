import { plainText } from './plain-text.ts';

/** Milliseconds between changes: screen readers notice one best some time after the last, and NVDA only after this. */
const GAP = 250;
const REGIONS = 3;
/** Milliseconds until announced text is removed, or visitors who navigate the page would find it again. */
const CLEAR_AFTER = 10_000;
/** Of a run of marks, only the last one is matched: a quantifier would read a run of thousands again from each of them. */
const SENTENCE = /[\s\S]*?(?:[.!?…।؟](?=\s)|[。！？]+|\n+)/gy;

/**
 * Announces whole sentences to screen readers, one after the other. The hidden live regions alternate, so that a region
 * stays while it is being read, and a repeated text is a change.
 */
export class Announcer {
  readonly element = document.createElement('div');
  #waiting: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #emptying: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #announced = 0;

  constructor() {
    for (let count = 0; count < REGIONS; count += 1) {
      const region = document.createElement('div');
      region.setAttribute('aria-live', 'polite');
      this.element.append(region);
    }
  }

  say(text: string): void {
    if (text) this.#waiting.push(text);
    this.#timer ??= setTimeout(this.#speak, GAP);
  }

  /** Starts a new answer. */
  begin(text: string): void {
    this.#announced = 0;
    this.say(text);
  }

  /** Announces new complete sentences without their Markdown; at the end, also the rest. */
  follow(answer: string, isEnd: boolean): void {
    const fresh = answer.slice(this.#announced);
    const { sentences, length } = splitSentences(fresh, isEnd);
    this.#announced += length;
    for (const sentence of sentences) this.say(plainText(sentence));
  }

  /** Stops announcing, and clears the current text. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    this.#empty();
  }

  #empty(): void {
    clearTimeout(this.#emptying);
    for (const region of this.element.children) region.textContent = '';
  }

  readonly #speak = (): void => {
    const regions = this.element.children;
    const region = regions[this.#turn % REGIONS];
    clearTimeout(this.#emptying);
    this.#emptying = setTimeout(() => this.#empty(), CLEAR_AFTER);
    this.#turn += 1;
    const next = regions[this.#turn % REGIONS];
    if (region) region.textContent = this.#waiting.splice(0).join(' ');
    if (next) next.textContent = '';
    this.#timer = undefined;
  };
}

/** The sentences in a text, and their length; an unfinished one waits unless the text has ended. */
export function splitSentences(text: string, isEnd: boolean): { sentences: string[]; length: number } {
  const found: string[] = (isEnd ? `${text}\n` : text).match(SENTENCE) ?? [];
  const { length } = isEnd ? text : found.join('');
  return { sentences: found.map((sentence) => sentence.trim()).filter(Boolean), length };
}
