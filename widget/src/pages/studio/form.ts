/** Reads a look from the form and writes one into it. */
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

/** Validates a control beyond its attributes. */
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

/** Shows each field's problem. Returns the first invalid field. */
export function checkAll(): Control | undefined {
  controls.forEach(check);
  return controls.find((control) => !control.validity.valid);
}

function settingOf({ dataset, type, value }: Control): Value {
  if (type === 'checkbox') return true;
  if (type === 'number') return Number(value);
  return dataset.kind === 'lines' ? lines(value) : value.trim();
}

/** Valid controls that differ from the widget's defaults. */
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

/** The form's raw values, so that links and Undo restore exactly what was typed. */
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

/** Sets the given values and resets all other fields in `names` to their defaults. */
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

/** Adds an option for a language that isn't in the list, such as de-AT. */
function choose(control: HTMLSelectElement, value: string): void {
  if (![...control.options].some((option) => option.value === value)) {
    if (!/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,4}$/.test(value)) return;
    control.add(new Option(value, value));
  }
  control.value = value;
}

/** A field's value if it is valid, or ''. */
export function validValue(id: string): string {
  const field = find<HTMLInputElement>(id);
  return field.validity.valid ? field.value.trim() : '';
}
