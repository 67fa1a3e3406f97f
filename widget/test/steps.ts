/**
 * Counts the work of code that reads text, because times vary on a busy machine: each step of each regular expression, and each
 * character or entry that a built-in method looks at. A regular expression runs here on a backtracking engine like a browser's,
 * and must find the same matches.
 */

type Instruction =
  | { op: 'character'; matches: (character: string) => boolean }
  | { op: 'split'; first: number; second: number }
  | { op: 'jump'; to: number }
  | { op: 'save'; slot: number }
  | { op: 'assert'; holds: (text: string, at: number) => boolean }
  | { op: 'look'; program: Instruction[]; width: number; behind: boolean; negative: boolean }
  | { op: 'again'; group: number }
  | { op: 'match' };

type Program = { code: Instruction[]; anchored: boolean; groups: number };

const nativeExec = RegExp.prototype.exec;
const programs = new Map<string, Program>();
let steps = 0;
/** Off while a pattern is compiled, which is this file's own work. */
let isCounting = false;

/** Runs `work` and returns how many steps it took. */
export function countSteps(work: () => void): number {
  const restore = install();
  steps = 0;
  isCounting = true;
  try {
    work();
    return steps;
  } finally {
    isCounting = false;
    restore();
  }
}

/** The number of characters or entries that each method looks at; copying or comparing memory counts as one step. */
const COSTS: [
  prototype: object,
  methods: Record<string, (self: never, result: unknown, ...given: never[]) => number>,
][] = [
  [
    String.prototype,
    {
      indexOf: (self: string, result: number, _: string, from = 0) => (result < 0 ? self.length : result) - from,
      lastIndexOf: (self: string, result: number) => self.length - result,
      includes: (self: string) => self.length,
      trim: (self: string, result: string) => self.length - result.length,
      trimEnd: (self: string, result: string) => self.length - result.length,
      replaceAll: (self: string) => self.length,
      split: (self: string) => self.length,
      toLowerCase: (self: string) => self.length,
      charAt: () => 0,
      slice: () => 0,
      startsWith: () => 0,
      endsWith: () => 0,
    },
  ],
  [
    Array.prototype,
    Object.fromEntries(
      ['map', 'filter', 'flatMap', 'reduce', 'some', 'every', 'forEach', 'join', 'findLastIndex', 'reverse'].map(
        (name) => [name, (self: unknown[]) => self.length],
      ),
    ),
  ],
] as never;

function install(): () => void {
  const undo: (() => void)[] = [];
  const replace = (prototype: object, name: string, method: unknown) => {
    const own = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor;
    Object.defineProperty(prototype, name, { ...own, value: method });
    undo.unshift(() => Object.defineProperty(prototype, name, own));
  };
  for (const [prototype, methods] of COSTS) {
    for (const name in methods) {
      const own = (prototype as Record<string, (...given: unknown[]) => unknown>)[name] as (
        ...given: unknown[]
      ) => unknown;
      const cost = methods[name] as unknown as (...given: unknown[]) => number;
      replace(prototype, name, function count(this: unknown, ...given: unknown[]) {
        const result = own.apply(this, given);
        if (isCounting) steps += 1 + cost(this, result, ...given);
        return result;
      });
    }
  }
  // `test`, `replace`, `match`, `search` and `split` call it as well.
  replace(RegExp.prototype, 'exec', countedExec);
  return () => {
    for (const restore of undo) restore();
  };
}

function countedExec(this: RegExp, text: string): RegExpExecArray | null {
  if (!isCounting) return nativeExec.call(this, text);
  const { sticky, lastIndex } = this;
  const start = this.global || sticky ? lastIndex : 0;
  const result = nativeExec.call(this, text);
  const found = search(programOf(this), `${text}`, start, sticky, this.unicode);
  if (found?.[0] !== result?.index || found?.[1] !== (result ? result.index + result[0].length : undefined))
    throw new Error(`The counter finds ${found} for ${this}, the engine ${result?.index}, in ${JSON.stringify(text)}.`);
  return result;
}

function search(
  program: Program,
  text: string,
  start: number,
  sticky: boolean,
  unicode: boolean,
): number[] | undefined {
  for (let at = start; at <= text.length; at += unicode ? characterAt(text, at, true).length || 1 : 1) {
    const slots = run(program.code, text, at, unicode);
    if (slots) return slots;
    if (sticky || program.anchored) return undefined;
  }
  return undefined;
}

const characterAt = (text: string, at: number, unicode: boolean): string =>
  unicode ? String.fromCodePoint(text.codePointAt(at) ?? 0).slice(0, text.length - at) : text.substring(at, at + 1);

/** Where the match begins and ends, then the same for its groups. */
function run(code: Instruction[], text: string, start: number, unicode: boolean, end?: number): number[] | undefined {
  const waiting: [number, number, number[]][] = [[0, start, [start]]];
  for (let thread = waiting.pop(); thread; thread = waiting.pop()) {
    let [pc, at, slots] = thread;
    for (;;) {
      steps++;
      const step = code[pc++] as Instruction;
      if (step.op === 'character') {
        const character = characterAt(text, at, unicode);
        if (!character || !step.matches(character)) break;
        at += character.length;
      } else if (step.op === 'split') {
        waiting.push([step.second, at, slots]);
        pc = step.first;
      } else if (step.op === 'jump') pc = step.to;
      else if (step.op === 'save') {
        slots = slots.slice();
        slots[step.slot] = at;
      } else if (step.op === 'assert') {
        if (!step.holds(text, at)) break;
      } else if (step.op === 'look') {
        let found = false;
        if (!step.behind) found = !!run(step.program, text, at, unicode);
        for (let from = at; step.behind && !found && from >= Math.max(0, at - step.width); from--)
          found = !!run(step.program, text, from, unicode, at);
        if (found === step.negative) break;
      } else if (step.op === 'again') {
        const group = text.substring(slots[2 * step.group] ?? 0, slots[2 * step.group + 1] ?? 0);
        if (text.substring(at, at + group.length) !== group) break;
        steps += group.length;
        at += group.length;
      } else {
        if (end !== undefined && at !== end) break;
        slots = slots.slice();
        slots[1] = at;
        return slots;
      }
    }
  }
  return undefined;
}

function programOf(pattern: RegExp): Program {
  const key = `${pattern}`;
  let program = programs.get(key);
  if (!program) {
    isCounting = false;
    program = new Compiler(pattern.source, pattern.flags).compile();
    isCounting = true;
    programs.set(key, program);
  }
  return program;
}

/** Instructions with relative jumps, before they have addresses. */
type Code = Instruction[];

class Compiler {
  #at = 0;
  #groups = 0;
  readonly #source: string;
  readonly #flags: string;

  constructor(source: string, flags: string) {
    this.#source = source;
    this.#flags = flags;
  }

  compile(): Program {
    const anchored = /^\^(?!.*\)\|(?![^(]*\)))/.test(this.#source) && !this.#flags.includes('m') && !this.#isSplit();
    const code = this.#absolute([...this.#alternatives(), { op: 'match' }]);
    return { code, anchored, groups: this.#groups };
  }

  /** Whether the pattern has alternatives outside of any group. */
  #isSplit(): boolean {
    const flat = this.#source.replace(/\\.|\[(?:\\.|[^\]])*\]/g, '');
    let depth = 0;
    for (const character of flat) {
      if (character === '(') depth++;
      else if (character === ')') depth--;
      else if (character === '|' && !depth) return true;
    }
    return false;
  }

  #absolute(code: Code): Instruction[] {
    return code.map((step, index) => {
      if (step.op === 'jump') return { ...step, to: index + step.to };
      if (step.op === 'split') return { ...step, first: index + step.first, second: index + step.second };
      return step;
    });
  }

  #takes(text: string): boolean {
    const is = this.#source.startsWith(text, this.#at);
    if (is) this.#at += text.length;
    return is;
  }

  #alternatives(): Code {
    const first = this.#sequence();
    if (!this.#takes('|')) return first;
    const second = this.#alternatives();
    return [
      { op: 'split', first: 1, second: first.length + 2 },
      ...first,
      { op: 'jump', to: second.length + 1 },
      ...second,
    ];
  }

  #sequence(): Code {
    const code: Code = [];
    while (this.#at < this.#source.length && !/^[|)]/.test(this.#source.slice(this.#at)))
      code.push(...this.#repeated());
    return code;
  }

  #repeated(): Code {
    const body = this.#atom();
    const [quantifier] = /^(?:[*+?]|\{\d+(?:,\d*)?\})/.exec(this.#source.slice(this.#at)) ?? [];
    if (!quantifier) return body;
    this.#at += quantifier.length;
    const lazy = this.#takes('?');
    const [least = 0, most = least] =
      { '*': [0, Number.POSITIVE_INFINITY], '+': [1, Number.POSITIVE_INFINITY], '?': [0, 1] }[quantifier] ??
      quantifier
        .slice(1, -1)
        .split(',')
        .map((number) => (number ? Number(number) : Number.POSITIVE_INFINITY));
    const choice = (more: number, done: number): Instruction =>
      lazy ? { op: 'split', first: done, second: more } : { op: 'split', first: more, second: done };
    const code = Array.from({ length: least }, () => body).flat();
    if (most === Number.POSITIVE_INFINITY)
      return [...code, choice(1, body.length + 2), ...body, { op: 'jump', to: -body.length - 1 }];
    const optional = most - least;
    for (let left = optional; left > 0; left--) code.push(choice(1, left * (body.length + 1)), ...body);
    return code;
  }

  #atom(): Code {
    const rest = this.#source.slice(this.#at);
    const [look, behind, sign] = /^\(\?(<?)([=!])/.exec(rest) ?? [];
    if (look) {
      this.#at += look.length;
      const program = this.#absolute([...this.#alternatives(), { op: 'match' }]);
      this.#at++;
      return [{ op: 'look', program, width: 1, behind: !!behind, negative: sign === '!' }];
    }
    if (this.#takes('(?:')) {
      const code = this.#alternatives();
      this.#at++;
      return code;
    }
    if (this.#takes('(')) {
      const group = ++this.#groups;
      const code = this.#alternatives();
      this.#at++;
      return [{ op: 'save', slot: 2 * group }, ...code, { op: 'save', slot: 2 * group + 1 }];
    }
    const multiline = this.#flags.includes('m');
    if (this.#takes('^'))
      return [{ op: 'assert', holds: (text, at) => !at || (multiline && text.substring(at - 1, at) === '\n') }];
    if (this.#takes('$'))
      return [
        { op: 'assert', holds: (text, at) => at === text.length || (multiline && text.substring(at, at + 1) === '\n') },
      ];
    if (this.#takes('\\b'))
      return [
        {
          op: 'assert',
          holds: (text, at) => isWord(text.substring(at - 1, at)) !== isWord(text.substring(at, at + 1)),
        },
      ];
    const [again, group] = /^\\([1-9])/.exec(rest) ?? [];
    if (again) {
      this.#at += again.length;
      return [{ op: 'again', group: Number(group) }];
    }
    const [single = ''] = /^(?:\[(?:\\.|[^\]\\])*\]|\\p\{\w+\}|\\u[\da-f]{4}|\\[\s\S]|[\s\S])/iu.exec(rest) ?? [];
    this.#at += single.length;
    const pattern = new RegExp(`^(?:${single})$`, this.#flags.replace(/[gym]/g, ''));
    const known = new Map<string, boolean>();
    const matches = (character: string) => {
      let is = known.get(character);
      if (is === undefined) {
        is = !!nativeExec.call(pattern, character);
        known.set(character, is);
      }
      return is;
    };
    return [{ op: 'character', matches }];
  }
}

const isWord = (character: string): boolean => !!nativeExec.call(/^\w$/, character);
