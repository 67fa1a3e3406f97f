/** The form that is the look: what it holds, and how a look gets into it. */
import type { Look, Value } from '../snippet.ts';

export type Control = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

const VARIABLE = '--';

export const find = <T extends Element = HTMLElement>(selector: string) => document.querySelector(selector) as T;
export const form = find<HTMLFormElement>('#look');
const controls = [...form.elements].filter((element): element is Control => 'name' in element && !!element.name);

const isChoice = (control: Control): control is HTMLInputElement =>
  control instanceof HTMLInputElement && /^(radio|checkbox)$/.test(control.type);

function isDefault(control: Control): boolean {
  if (control instanceof HTMLSelectElement) return control.options[control.selectedIndex]?.defaultSelected ?? true;
  return isChoice(control) ? !control.checked || control.defaultChecked : control.value.trim() === control.defaultValue;
}

const lines = (text: string): string[] => text.split('\n').flatMap((line) => line.trim() || []);

/** What is wrong with a control beyond what its attributes say. */
function isWrong({ dataset, value }: Control): boolean {
  if (!value.trim()) return false;
  if (dataset.kind === 'color') return !CSS.supports('color', value);
  if (dataset.kind === 'font') return !CSS.supports('font-family', value);
  return dataset.kind === 'lines' && (lines(value).length > 6 || lines(value).some((line) => line.length > 200));
}

function check(control: Control): void {
  control.setCustomValidity(isWrong(control) ? 'wrong' : '');
  const problem = document.getElementById(`${control.id}-problem`);
  if (!problem) return;
  problem.hidden = control.validity.valid;
  control.setAttribute('aria-invalid', `${!control.validity.valid}`);
}

/** Says at each field what is wrong with it. Returns the first that is. */
export function checkAll(): Control | undefined {
  controls.forEach(check);
  return controls.find((control) => !control.validity.valid);
}

function settingOf({ dataset, type, value }: Control): Value {
  if (type === 'checkbox') return true;
  if (type === 'number') return Number(value);
  return dataset.kind === 'lines' ? lines(value) : value.trim();
}

/** Controls that differ from how the widget is by itself, and make sense. */
function changed(): Control[] {
  const mode = new FormData(form).get('mode');
  return controls.filter(
    (control) => !isDefault(control) && control.validity.valid && (control.name !== 'target' || mode === 'inline'),
  );
}

export function readLook(): Look {
  const settings: Record<string, Value> = {};
  const vars: Record<string, string> = {};
  for (const control of changed()) {
    if (control.name.startsWith(VARIABLE)) {
      vars[control.name] = control.value.trim() + (control.dataset.kind === 'px' ? 'px' : '');
    } else {
      settings[control.name] = settingOf(control);
    }
  }
  return { settings, vars };
}

/** The form's own texts, so that what was typed comes back as it was: for links and for Undo. */
export const toText = () => new URLSearchParams(changed().map(({ name, value }) => [name, value])).toString();

export function fromText(text: string): void {
  form.reset();
  for (const [name, value] of new URLSearchParams(text)) put(name, value);
}

/** Fills the form with a tenant's settings. */
export function fromSettings(settings: Readonly<Record<string, unknown>>): void {
  form.reset();
  for (const [name, value] of Object.entries(settings)) {
    if (value !== false) put(name, Array.isArray(value) ? value.join('\n') : `${value}`);
  }
}

/** Gives some fields these values, and all others of `names` their defaults. */
export function fromPreset(names: readonly string[], values: Readonly<Record<string, string>>): void {
  for (const name of names) {
    for (const control of named(name)) {
      if (isChoice(control)) control.checked = values[name] ? control.value === values[name] : control.defaultChecked;
      else if (!(control instanceof HTMLSelectElement)) control.value = values[name] ?? control.defaultValue;
    }
  }
}

const named = (name: string) => controls.filter((candidate) => candidate.name === name);

function put(name: string, value: string): void {
  for (const control of named(name)) {
    if (isChoice(control)) control.checked = control.type === 'checkbox' || control.value === value;
    else if (control instanceof HTMLSelectElement) choose(control, value);
    else control.value = control.maxLength > 0 ? value.slice(0, control.maxLength) : value.slice(0, 2000);
  }
}

/** A language that the list does not have, such as de-AT, is one all the same. */
function choose(control: HTMLSelectElement, value: string): void {
  if (![...control.options].some((option) => option.value === value)) {
    if (!/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$/.test(value)) return;
    control.add(new Option(value, value));
  }
  control.value = value;
}

/** A valid value of a field, or ''. */
export function given(id: string): string {
  const field = find<HTMLInputElement>(id);
  return field.validity.valid ? field.value.trim() : '';
}
