/** The owner's API. The owner's pages and their endpoints are all below /studio. */

/** A failed request, with a message for the owner. */
export class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const base = new URL(`${location.pathname.replace(/\/studio.*$/, '')}/studio/api/`, location.origin);

/** An endpoint's URL, relative to the service's. */
export const address = (path: string): string => new URL(path, base).href;

/** Throws Refused if the service refuses the request or can't be reached. */
export async function ask<Answer>(path: string, method = 'GET', body?: object): Promise<Answer> {
  const request: RequestInit = { method, cache: 'no-store', credentials: 'same-origin' };
  if (body) Object.assign(request, { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  const response = await fetch(address(path), request).catch(() => {
    throw new Refused(0, 'The service can’t be reached. Check your connection and try again.');
  });
  if (response.status === 204) return undefined as Answer;
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer as Answer;
  if (response.status === 401) throw new Refused(401, 'Your session has ended. Reload the page to sign in again.');
  const [first] = (answer.errors ?? []) as { field: string; message: string }[];
  throw new Refused(
    response.status,
    first ? `${first.field}: ${first.message}` : (answer.detail ?? 'Something went wrong.'),
  );
}

export interface TenantName {
  widget_id: string;
  name: string;
}

export interface Key {
  id: number;
  kind: 'public' | 'secret';
  hint: string;
  created_at: string;
  expires_at: string | null;
}

export interface Tenant extends TenantName {
  origins: string[];
  settings: Record<string, string | number | boolean | string[]>;
  keys: Key[];
}

export const listTenants = async () => (await ask<{ tenants: TenantName[] }>('tenants')).tenants;
