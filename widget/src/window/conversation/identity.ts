import { record } from '../../protocol.ts';
import { parseJson } from './chat-events.ts';

/** Of a token that can't be read: it may be anybody's. */
export const UNKNOWN = '?';

/**
 * Whom a user token (JWT) is for: its `sub`, which a refreshed token shares with the one before it. '' without a token.
 * That the token is genuine, the service alone checks.
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
