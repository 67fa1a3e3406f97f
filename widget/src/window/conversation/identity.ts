import { parseJson, record } from '../../protocol.ts';

/** The person of an unreadable token, which may be anyone. */
export const UNKNOWN = '?';

/**
 * The person of a user token (JWT): its `sub`, which stays the same in a refreshed token. '' without a token. Only the
 * service verifies the token.
 */
export function personOf(token: string): string {
  if (!token) return '';
  try {
    const payload = atob(token.split('.')[1]?.replace(/-/g, '+').replace(/_/g, '/') ?? '');
    const sub = record(parseJson(payload))?.sub;
    return typeof sub === 'string' && sub ? `=${sub}` : UNKNOWN;
  } catch {
    return UNKNOWN;
  }
}
